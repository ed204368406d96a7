"""Istio: intents → edits of its resources. Everything is read and understood before anything is written."""

from __future__ import annotations

import copy
import difflib
import itertools
from collections.abc import Mapping
from typing import Any

from meshbdd.cluster import Cluster, Edit
from meshbdd.cluster.record import ROUTE_PREFIX, ROUTES
from meshbdd.errors import BadInput
from meshbdd.intents import Fault, ServiceRef
from meshbdd.mesh.base import Marker, Plan
from meshbdd.mesh.virtual_services import governing, service_host, tagged_routes

Object = dict[str, Any]

NETWORKING = "networking.istio.io/v1"
_AT_CALLER = (
    "at the callers' sidecars (a VirtualService fault): no retry, timeout or breaker of this scenario has to see it; "
    "Istio suspends retries and timeouts on a faulted route"
)


class Istio:
    """Plans for one run.

    Args:
        cluster: Read from, never written to.
        run: The run's id.
    """

    def __init__(self, cluster: Cluster, run: str) -> None:
        self._cluster = cluster
        self._run = run
        self._numbers = itertools.count(1)

    def _tag(self) -> str:
        return f"{ROUTE_PREFIX}{self._run}-{next(self._numbers)}-"

    def service(self, ref: ServiceRef) -> Object:
        """The Service object.

        Raises:
            BadInput: there is none; the nearest name is offered.
        """
        found = self._cluster.find("Service", ref.name, ref.namespace)
        if found is not None:
            return found
        names = [s["metadata"]["name"] for s in self._cluster.list("Service", ref.namespace)]
        near = difflib.get_close_matches(ref.name, names, 1)
        if not names and self._cluster.find("Namespace", ref.namespace) is None:
            known = [n["metadata"]["name"] for n in self._cluster.list("Namespace")]
            close = difflib.get_close_matches(ref.namespace, known, 1)
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

    def labels_of(self, ref: ServiceRef) -> Mapping[str, str]:
        """The labels that a Service selects."""
        selector = self.service(ref)["spec"].get("selector")
        if not selector:
            raise BadInput(
                "MB0406", f'Service "{ref}" selects no pods, so no caller is known by it.', help="name another caller"
            )
        return dict(selector)

    def plan(self, fault: Fault) -> Plan:
        """Plan a fault at the callers of a service.

        Raises:
            BadInput: no such service, a port that carries no HTTP, or a virtual service that leaves no room for it.
        """
        service = self.service(fault.service)
        _check_http(fault.service, service)
        labels = self.caller_labels(fault.scope.called_by) if fault.scope.called_by else None
        tag = self._tag()
        ruling = governing(fault.service, self._cluster.list("VirtualService"))
        edit = self._insert(ruling, fault, labels, tag) if ruling is not None else self._create(fault, labels, tag)
        return Plan(
            summary=str(fault),
            edits=(edit,),
            tags=(tag,),
            markers=(Marker("route", tag, labels),),
            service=fault.service,
            reason=_AT_CALLER,
            callers=labels,
        )

    @staticmethod
    def _insert(ruling: Mapping[str, Any], fault: Fault, labels: Mapping[str, str] | None, tag: str) -> Edit:
        def make(routes: Any) -> Any:
            current = routes or []
            made = tagged_routes(current, fault, labels, tag)
            if not made:
                name = ruling["metadata"]["name"]
                raise BadInput(
                    "MB0407",
                    f"No route of VirtualService {name} can carry {fault}: its matches and the fault's options exclude each other.",
                    help="correct the options in the fault's table",
                )
            return [*made, *current]

        make((ruling["spec"]).get("http"))  # understood before anything is written
        meta = ruling["metadata"]
        return Edit("VirtualService", meta["name"], meta["namespace"], ROUTES, make)

    @staticmethod
    def _create(fault: Fault, labels: Mapping[str, str] | None, tag: str) -> Edit:
        plain = {"route": [{"destination": {"host": service_host(fault.service)}}]}
        name = f"meshbdd-{fault.service.name}"

        def make(routes: Any) -> Any:
            current = routes or [plain]
            return [*tagged_routes(current, fault, labels, tag), *current]

        new = {
            "apiVersion": NETWORKING,
            "kind": "VirtualService",
            "metadata": {"name": name, "namespace": fault.service.namespace},
            "spec": {"hosts": [service_host(fault.service)], "http": make(None)},
        }
        return Edit("VirtualService", name, fault.service.namespace, ROUTES, make, new)

    def plan_down(self, ref: ServiceRef) -> Plan:
        """Plan that a service has no endpoint: its Deployments are scaled to none.

        Raises:
            BadInput: no such service, or nothing behind it that can be scaled.
        """
        labels = self.labels_of(ref)
        behind = [
            deployment
            for deployment in self._cluster.list("Deployment", ref.namespace)
            if _selected(labels, (deployment["spec"]["template"].get("metadata") or {}).get("labels") or {})
        ]
        if not behind:
            raise BadInput(
                "MB0408",
                f'No Deployment is behind Service "{ref}", so it cannot be taken down.',
                help="name another service",
            )
        edits = tuple(
            Edit("Deployment", d["metadata"]["name"], ref.namespace, ("spec", "replicas"), lambda _now: 0)
            for d in behind
        )
        names = ", ".join(d["metadata"]["name"] for d in behind)
        return Plan(
            f"{ref} is down", edits, ("",) * len(edits), service=ref, reason=f"no pod of {names} takes connections"
        )

    def plan_manifest(self, documents: list[Object]) -> Plan:
        """Plan that a manifest is applied; routes get names by which proxies show that they hold them.

        Raises:
            BadInput: the manifest would be ignored by Istio.
        """
        edits, tags, markers = [], [], []
        existing = self._cluster.list("VirtualService")
        for document in sorted(documents, key=lambda d: d["kind"] != "DestinationRule"):  # subsets before their routes
            meta = document["metadata"]
            wanted = copy.deepcopy(document)
            wanted["apiVersion"] = NETWORKING
            tag = ""
            if document["kind"] == "VirtualService":
                self._check_not_ignored(document, existing)
                tag = self._tag()
                for index, route in enumerate(wanted["spec"].get("http") or []):
                    route["name"] = f"{tag}{index}"
                markers += [Marker("route", tag)] if "mesh" in (wanted["spec"].get("gateways") or ["mesh"]) else []
            else:
                path = f"/apis/networking.istio.io/v1/namespaces/{meta['namespace']}/destination-rule/{meta['name']}"
                markers.append(Marker("cluster", path))
            spec = wanted["spec"]
            edits.append(Edit(document["kind"], meta["name"], meta["namespace"], ("spec",), _constant(spec), wanted))
            tags.append(tag)
        names = ", ".join(f"{d['kind']} {d['metadata']['name']}" for d in documents)
        return Plan(f"the manifest's {names}", tuple(edits), tuple(tags), tuple(markers), reason="as the manifest says")

    @staticmethod
    def _check_not_ignored(document: Mapping[str, Any], existing: list[Object]) -> None:
        meta = document["metadata"]
        for host in document["spec"].get("hosts") or []:
            ref = ServiceRef.parse(host.removesuffix(".svc.cluster.local"), meta["namespace"])
            ruling = governing(ref, existing)
            if ruling is None or (ruling["metadata"]["name"], ruling["metadata"]["namespace"]) == (
                meta["name"],
                meta["namespace"],
            ):
                continue
            other = ruling["metadata"]
            raise BadInput(
                "MB0409",
                f'Host "{host}" is routed by VirtualService {other["name"]}.{other["namespace"]} already, so Istio would '
                f"ignore {meta['name']} (IST0109).",
                help="merge the two, or give the manifest the other's name",
            )


def _constant(value: Any) -> Any:
    return lambda _now: copy.deepcopy(value)


def _selected(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in wanted.items())


def _check_http(ref: ServiceRef, service: Mapping[str, Any]) -> None:
    """A fault on a port that carries no HTTP has no effect, and Istio says nothing.

    Raises:
        BadInput: no port of the Service is declared HTTP, HTTP/2 or gRPC.
    """
    ports = service["spec"].get("ports") or []
    words = {str(port.get("appProtocol") or port.get("name") or "").partition("-")[0] for port in ports}
    if ports and not any(word in {"http", "http2", "grpc", ""} or word.endswith("h2c") for word in words):
        raise BadInput(
            "MB0410",
            f'No port of Service "{ref}" is declared HTTP (its ports: {", ".join(sorted(words))}), so a fault would have no effect.',
            help="name the port http-… or set its appProtocol",
        )
