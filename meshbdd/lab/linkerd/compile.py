"""What ``meshbdd lab compile --mesh linkerd`` shows: the policies that Linkerd would send, by question asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from meshbdd.lab.linkerd.admission.webhook import decide
from meshbdd.lab.linkerd.objects import cluster_addresses, group_of, parents
from meshbdd.lab.linkerd.policies import Policies
from meshbdd.lab.linkerd.read.destinations import NoProfile
from meshbdd.lab.linkerd.read.outbound import NotFound
from meshbdd.lab.linkerd.show import destinations as show_destinations
from meshbdd.lab.linkerd.show.inbound import inbound
from meshbdd.lab.linkerd.show.outbound import outbound

Object = Mapping[str, Any]
Json = dict[str, Any]

ELSEWHERE = "third"
"""A namespace that stands for all in which nothing is."""
UNDECLARED = (9090, 9999)
"""Ports that stand for all that a pod does not declare."""
OUTSIDE = ("203.0.113.7", "203.0.113.200")
"""Addresses outside of every cluster, one of each half of a block for documentation (RFC 5737)."""
NOBODY = "10.200.0.1"
"""An address of the cluster that is no Service's."""


def _split(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    return host, int(port)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class Questions:
    """Answers questions as the recorded data asks them: ``order-service.shop:80 from other``, ``payment-1.shop:8080``.

    Args:
        policies: What Linkerd makes of the objects.
    """

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    def outbound(self, question: str) -> Json:
        """The policy for connections to a Service or an address, from a namespace."""
        place, _, client = question.partition(" from ")
        host, port = _split(place)
        answers = self._policies.outbound
        try:
            if _is_address(host):
                return outbound(answers.at_address(host, port, client), self._policies.settings)
        except NotFound as error:
            return {"error": f"NotFound: {error}"}
        name, _, namespace = host.partition(".")
        return outbound(answers.of_service(name, namespace, port, client), self._policies.settings)

    def inbound(self, question: str) -> Json:
        """The policy of a pod's port."""
        pod, port = _split(question)
        name, _, namespace = pod.partition(".")
        return inbound(self._policies.inbound.at_port(self._policies.objects.pods[namespace, name], port))

    def profile(self, question: str) -> Json:
        """``GetProfile SERVICE.NAMESPACE:PORT from NAMESPACE``, or an address."""
        place, _, client = question.removeprefix("GetProfile ").partition(" from ")
        host, port = _split(place)
        answers, domain = self._policies.destinations, self._policies.settings.domain
        if _is_address(host):
            return show_destinations.profile(answers.profile_of_address(host, port), domain)
        name, _, namespace = host.partition(".")
        try:
            return show_destinations.profile(answers.profile(name, namespace, port, client), domain)
        except NoProfile as error:
            return {"error": str(error)}

    def endpoints(self, question: str) -> list[Json]:
        """``Get SERVICE.NAMESPACE:PORT from NAMESPACE``."""
        host, port = _split(question.removeprefix("Get ").partition(" from ")[0])
        name, _, namespace = host.partition(".")
        return show_destinations.endpoints(
            name, namespace, self._policies.destinations.endpoints(name, namespace, port)
        )


def _services(policies: Policies) -> Iterator[tuple[str, str, int]]:
    """Every Service's port that something is said about, existing or not."""
    found: dict[tuple[str, str], set[int]] = {}
    for (namespace, name), service in policies.objects.services.items():
        ports = found.setdefault((namespace, name), set())
        for port in service["spec"].get("ports") or []:
            ports.add(port["port"])
            if isinstance(port.get("targetPort"), int):
                ports.add(port["targetPort"])
    for route in policies.objects.routes():
        for parent in parents(route):
            if parent.kind == "Service" and parent.port:
                found.setdefault((parent.namespace, parent.name), set()).add(parent.port)
    for (namespace, name), ports in sorted(found.items()):
        for port in sorted(ports):
            yield name, namespace, port


def _addresses(policies: Policies) -> Iterator[str]:
    for pod in policies.objects.pods.values():
        address = (pod.get("status") or {}).get("podIP")
        for port in sorted(policies.inbound.ports_of(pod)) if address else ():
            yield f"{address}:{port}"
    for service in policies.objects.services.values():
        numbers = [port["port"] for port in service["spec"].get("ports") or []]
        for address in cluster_addresses(service) if numbers else ():
            yield from (f"{address}:{number}" for number in numbers)
            yield f"{address}:{max(numbers) + 1}"  # stands for every port that the Service does not have
    yield from (f"{address}:80" for address in (*OUTSIDE, NOBODY))


def _inbound_questions(policies: Policies, pod: Object) -> Iterator[str]:
    meta = pod["metadata"]
    for port in sorted({*policies.inbound.ports_of(pod), *UNDECLARED}):
        yield f"{meta['name']}.{meta['namespace']}:{port}"


def show(policies: Policies, objects: Iterable[Object], pod: tuple[str, str] | None = None) -> Json:
    """Everything that Linkerd would tell.

    Args:
        policies: What Linkerd makes of the world.
        objects: Those that the webhook and the definitions are asked about.
        pod: Namespace and name of the one pod to answer for; ``None``: for all.
    """
    questions = Questions(policies)
    pods = [policies.objects.pods[pod]] if pod else list(policies.objects.pods.values())
    clients = {pod[0]} if pod else {*(namespace for namespace, _ in policies.objects.services), ELSEWHERE}
    if not pod:
        clients |= {p["metadata"]["namespace"] for p in pods} | {
            r["metadata"]["namespace"] for r in policies.objects.routes()
        }
    services = [f"{name}.{namespace}:{port}" for name, namespace, port in _services(policies)]
    places = [f"{place} from {client}" for place in [*services, *_addresses(policies)] for client in sorted(clients)]
    asked = [f"{place} from {client}" for place in services for client in sorted(clients)]
    made: Json = {
        "outbound": {place: questions.outbound(place) for place in places},
        "inbound": {place: questions.inbound(place) for p in pods for place in _inbound_questions(policies, p)},
        "profile": {f"GetProfile {place}": questions.profile(f"GetProfile {place}") for place in asked},
        "endpoints": {f"Get {place}": questions.endpoints(place) for place in asked},
        "status": status(policies),
    }
    for p in pods:
        address = (p.get("status") or {}).get("podIP")
        for port in sorted(policies.inbound.ports_of(p)) if address else ():
            place = f"GetProfile {address}:{port} from {p['metadata']['namespace']}"
            made["profile"][place] = questions.profile(place)
    return {**made, **verdicts(objects), "log": policies.log()}


def title(obj: Object) -> str:
    """``HTTPRoute.gateway.networking.k8s.io shop/order-route``."""
    return f"{obj['kind']}.{group_of(obj)} {obj['metadata']['namespace']}/{obj['metadata']['name']}"


def status(policies: Policies) -> Json:
    """The conditions that the status controller writes."""
    made: Json = {}
    for obj, told in policies.statuses():
        if "parents" in told:
            made[title(obj)] = [
                {k: v for k, v in parent.items() if k != "controllerName"} for parent in told["parents"]
            ]
        else:
            made[title(obj)] = told["conditions"]
    return made


def verdicts(objects: Iterable[Object]) -> Json:
    """What the webhook denies, and where objects break their definitions."""
    made: Json = {"admission": {}, "schema": {}}
    for obj in objects:
        decision = decide(obj)
        if decision.denied is not None:
            made["admission"][title(obj)] = {"allowed": False, "message": decision.denied}
        if decision.schema:
            made["schema"][title(obj)] = [f".{path}: {why}" for path, why in decision.schema]
    return made
