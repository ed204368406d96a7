"""What the cluster says of services, callers and pods; reading only, and every miss ends in a sentence."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from meshbdd.cluster import Cluster
from meshbdd.cluster.client import ApiFailure
from meshbdd.cluster.kinds import kind_of
from meshbdd.cluster.record import ROUTE_PREFIX
from meshbdd.errors import BadInput, Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.pod_spec import named_ports
from meshbdd.port_protocols import declared, is_tcp, may_carry_http
from meshbdd.sidecars import ISTIO, Sidecars

Object = dict[str, Any]


def selected(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a selector takes something with these labels."""
    return all(labels.get(name) == value for name, value in wanted.items())


def namesakes(ref: ServiceRef, services: Iterable[Mapping[str, Any]]) -> list[str]:
    """The Services of a name that lie in other namespaces, as steps and requests name them.

    Args:
        ref: A service that is not there.
        services: All that are.
    """
    homes = {s["metadata"]["namespace"] for s in services if s["metadata"]["name"] == ref.name} - {ref.namespace}
    return [str(ServiceRef(ref.name, home)) for home in sorted(homes)]


class Catalog:
    """Looks services and their pods up.

    Args:
        cluster: Read from, never written to.
        sidecars: By which pods are known to be in the mesh.
    """

    def __init__(self, cluster: Cluster, sidecars: Sidecars = ISTIO) -> None:
        self._cluster = cluster
        self._sidecars = sidecars
        self._written: tuple[Object, ...] = ()
        self._instead: Mapping[tuple[str, str, str], Object | None] = {}

    def with_written(self, documents: Iterable[Object]) -> Catalog:
        """The same, but ``all`` has these objects as well, in the place of those that they will be written over."""
        made = Catalog(self._cluster, self._sidecars)
        made._written = tuple(documents)
        return made

    def with_instead(self, states: Mapping[tuple[str, str, str], Object | None]) -> Catalog:
        """The same with other states of objects in the place of those that are there; with a Deployment its pods go.

        Pods that are yet to come may be among them.

        Args:
            states: Kind, name and namespace → the object; ``None``: it is gone.
        """
        made = Catalog(self._cluster, self._sidecars)
        made._instead = states
        return made

    def all(self, kind: str, namespace: str | None = None) -> list[Object]:
        """All objects of a kind; none where the kind is not installed."""
        found = self._cluster.list(kind, namespace)
        there = {(obj["metadata"].get("namespace"), obj["metadata"]["name"]): obj for obj in found}
        for (its_kind, name, home), state in self._instead.items():
            if its_kind == kind and state is None:
                there.pop((home, name), None)
            elif its_kind == kind and state is not None and namespace in {None, home}:
                there[home, name] = state
        for new in self._written:
            key = new["metadata"].get("namespace"), new["metadata"]["name"]
            if kind_of(new) == kind and namespace in {None, key[0]}:
                there[key] = {**new, "metadata": {**there.get(key, new)["metadata"], **new["metadata"]}}
        return list(there.values())

    def readable(self, kind: str) -> list[Object]:
        """All objects of a kind; none where the kind is not installed, or where nobody gave the right to read it."""
        try:
            return self.all(kind)
        except ApiFailure as failure:
            if failure.status != HTTPStatus.FORBIDDEN:
                raise
            return []

    def find(self, kind: str, name: str, namespace: str) -> Object | None:
        """One object, or ``None``."""
        if (kind, name, namespace) in self._instead:
            return self._instead[kind, name, namespace]
        return self._cluster.find(kind, name, namespace)

    def service(self, ref: ServiceRef) -> Object:
        """The Service object.

        Raises:
            BadInput: there is none; the nearest name is offered.
        """
        found = self.find("Service", ref.name, ref.namespace)
        if found is not None:
            return found
        there = (s["metadata"]["name"] for s in self._cluster.list("Service", ref.namespace))
        names = [name for name in there if not name.startswith(ROUTE_PREFIX)]  # of what a run makes no step speaks
        elsewhere = namesakes(ref, self.readable("Service"))
        near = elsewhere or difflib.get_close_matches(ref.name, names, 1)
        if not names and self._cluster.find("Namespace", ref.namespace) is None:
            known = [n["metadata"]["name"] for n in self._cluster.list("Namespace")]
            close = difflib.get_close_matches(ref.namespace, known, 1) or elsewhere
            raise BadInput(
                "MB0404",
                f'Namespace "{ref.namespace}" does not exist in the cluster {self._cluster.context}.',
                help=f'did you mean "{close[0]}"?' if close else "correct the namespace",
            )
        raise BadInput(
            "MB0405",
            f'Service "{ref.name}" does not exist in namespace "{ref.namespace}".',
            help=f'did you mean "{near[0]}"?' if near else f"name one of: {', '.join(names) or 'none'}",
        )

    def see_known(self, ref: ServiceRef) -> None:
        """See that a name is a Service's or, where it offers none, a mere client's: its Deployment's, or its pods' label ``app``.

        Raises:
            BadInput: it is nobody's; the nearest name is offered.
        """
        if any(self._cluster.find(kind, ref.name, ref.namespace) for kind in ("Service", "Deployment")):
            return
        with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
            if self._cluster.list("Pod", ref.namespace, f"app={ref.name}"):
                return
        self.service(ref)

    def labels_of(self, ref: ServiceRef) -> Mapping[str, str]:
        """The labels that a Service selects.

        Raises:
            BadInput: no such Service, or it selects nothing.
        """
        selector = self.service(ref)["spec"].get("selector")
        if not selector:
            raise BadInput(
                "MB0406",
                f'Service "{ref}" has no selector, so nothing tells which pods are behind it.',
                help="name a service that selects its pods by their labels",
            )
        return dict(selector)

    def caller_labels(self, ref: ServiceRef) -> Mapping[str, str]:
        """The labels by which a caller is known: its Service's, or its Deployment's where it offers no Service.

        Raises:
            BadInput: there is neither.
        """
        if self._cluster.find("Service", ref.name, ref.namespace) is None:
            deployment = self._cluster.find("Deployment", ref.name, ref.namespace)
            if deployment is not None:
                return dict(deployment["spec"]["selector"].get("matchLabels") or {})
        return self.labels_of(ref)

    def pods(self, labels: Mapping[str, str], namespace: str | None) -> list[Object]:
        """The pods of a namespace, or of all, with these labels that are not on their way out."""
        going = list(self._going())
        coming = [
            state
            for (kind, _, home), state in self._instead.items()
            if kind == "Pod" and state is not None and namespace in {None, home}
        ]
        return [
            pod
            for pod in (*self._cluster.list("Pod", namespace), *coming)
            if selected(labels, own := pod["metadata"].get("labels") or {})
            and not pod["metadata"].get("deletionTimestamp")
            and not any(home == pod["metadata"]["namespace"] and selected(its, own) for home, its in going)
        ]

    def _going(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        """The namespaces and the labels of the pods of Deployments that are taken to be gone."""
        for (kind, name, home), state in self._instead.items():
            there = self._cluster.find(kind, name, home) if kind == "Deployment" and state is None else None
            labels = there["spec"]["selector"].get("matchLabels") if there is not None else None
            if labels:
                yield home, labels

    def calling_namespaces(self) -> tuple[str, ...]:
        """Every namespace with meshed pods: whoever has a sidecar can call."""
        return tuple(sorted({pod["metadata"]["namespace"] for pod in self.everybody()}))

    def everybody(self) -> list[Object]:
        """Every pod with a sidecar."""
        return self._cluster.list("Pod", labels=self._sidecars.label)

    def with_proxy(self, namespace: str | None) -> list[Object]:
        """The pods of a namespace, or of all, whose sidecar is there to hold something, or will be."""
        return [pod for pod in self.pods({}, namespace) if self._meshed(pod) and not has_ended(pod)]

    def service_accounts(self, caller: ServiceRef) -> tuple[str, ...]:
        """The service accounts of a caller's pods, which nobody else in their namespace has.

        Raises:
            BadInput: it has no pods, or some without a sidecar, which show no identity, or shares an account, so that no proxy
                can tell it from the other.
        """
        labels = self.caller_labels(caller)
        pods = self._cluster.list("Pod", caller.namespace)
        own = [p for p in pods if selected(labels, p["metadata"].get("labels") or {})]
        accounts = sorted({account_of(pod) for pod in own})
        if not accounts:
            raise BadInput(
                "MB0422", f"{caller} has no pod, so nobody knows its service account.", help="start it, or name another"
            )
        if bare := self.without_sidecar(own, caller.namespace):
            raise BadInput(
                "MB0474",
                f"{caller} cannot be told from others by an identity: its pod {bare[0]} has no sidecar.",
                help="give its pods sidecars, or name a caller that has them",
            )
        sharing = sorted({p["metadata"]["name"] for p in pods if p not in own and account_of(p) in accounts})
        if sharing:
            raise BadInput(
                "MB0423",
                f"{caller} shares its service account {accounts[0]} with pod {sharing[0]}, so no proxy can tell the two apart.",
                help="give it a service account of its own",
            )
        return tuple(accounts)

    def without_sidecar(self, pods: Iterable[Object], namespace: str) -> list[str]:
        """The names of those of a namespace's pods that run without a sidecar; none in a world that does not tell who has one."""
        bare = [pod for pod in pods if not self._meshed(pod) and not has_ended(pod)]
        told = bare and (
            self._cluster.find("Namespace", namespace) is not None
            or any(self._meshed(pod) for pod in self._cluster.list("Pod", namespace))
        )
        return sorted(pod["metadata"]["name"] for pod in bare) if told else []

    def meshed_labels(self, ref: ServiceRef) -> list[Mapping[str, str]]:
        """The labels of each pod behind a Service that has a sidecar."""
        wanted = (self.service(ref).get("spec") or {}).get("selector")
        pods = self.pods(wanted, ref.namespace) if wanted else []
        return [pod["metadata"].get("labels") or {} for pod in pods if self._meshed(pod)]

    def _meshed(self, pod: Object) -> bool:
        name, _, value = self._sidecars.label.partition("=")
        label = (pod["metadata"].get("labels") or {}).get(name)
        return label is not None and value in ("", label)

    def target_ports(self, ref: ServiceRef) -> tuple[int, ...]:
        """The ports of the pods behind a Service, as numbers."""
        service = self.service(ref)
        return ports_of(service, self._behind(service))

    def target_port(self, service: Object, port: Mapping[str, Any]) -> int:
        """The port of the pods behind one port of a Service.

        Raises:
            BadInput: it goes by a name that no pod has.
        """
        found = _targets(port, _port_names(self._behind(service)))
        if not found:
            name = service["metadata"]["name"]
            raise BadInput(
                "MB0451",
                f'Port {port["port"]} of Service "{name}" leads to "{port["targetPort"]}", and no pod has a port of that name.',
                help="start its pods, or correct targetPort",
            )
        return found[-1]

    def _behind(self, service: Object) -> list[Object]:
        return self.pods(service["spec"].get("selector") or {}, service["metadata"]["namespace"])


def ports_of(service: Object, pods: Iterable[Object]) -> tuple[int, ...]:
    """The TCP ports of these pods that a Service leads to, as numbers: a name may be another one's at each of them.

    What comes by UDP passes by every sidecar.
    """
    names = _port_names(pods)
    found = (number for port in service["spec"].get("ports") or [] if is_tcp(port) for number in _targets(port, names))
    return tuple(sorted(set(found)))


def _port_names(pods: Iterable[Object]) -> Mapping[str, Sequence[int]]:
    found: dict[str, list[int]] = {}
    for pod in pods:
        for name, number in named_ports(pod["spec"]).items():
            found.setdefault(name, []).append(number)
    return found


def _targets(port: Mapping[str, Any], names: Mapping[str, Sequence[int]]) -> Sequence[int]:
    target = port.get("targetPort", port["port"])
    return [target] if isinstance(target, int) else names.get(str(target), [])


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Whether nothing runs in a pod any more, as in that of a Job that is done."""
    return (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}


def account_of(pod: Mapping[str, Any]) -> str:
    """The service account that a pod, or one of a template, runs with; ``serviceAccount`` is an alias of before."""
    return str(pod["spec"].get("serviceAccountName") or pod["spec"].get("serviceAccount") or "default")


def check_http(ref: ServiceRef, service: Mapping[str, Any]) -> None:
    """A fault on a port that carries no HTTP has no effect, and Istio says nothing.

    A port that declares nothing carries HTTP where its callers send that: Istio detects it.

    Raises:
        BadInput: each port of the Service is declared to be something else.
    """
    ports = service["spec"].get("ports") or []
    if ports and not any(carries_http(port) for port in ports):
        told = ", ".join(f"{port.get('name') or 'unnamed'} {port['port']}" for port in ports)
        raise BadInput(
            "MB0410",
            f'No port of Service "{ref}" is declared HTTP (its ports: {told}), so a rule for HTTP would have no effect.',
            help="name the port http-… or set its appProtocol",
        )


def carries_http(port: Mapping[str, Any]) -> bool:
    """Whether a Service's port is declared HTTP, or may turn out to be."""
    said = declared(str(port.get("name") or ""), str(port.get("appProtocol") or ""), int(port["port"]))
    return is_tcp(port) and may_carry_http(said)
