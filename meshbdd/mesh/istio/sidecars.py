"""How proxies show that they hold a Sidecar, which may change nothing at some of them.

https://istio.io/latest/docs/reference/config/networking/sidecar/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Marker, Object, Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.istio.hosts import ROOT_NAMESPACE, full_name, service_host
from meshbdd.mesh.markers import ConfigChanged, HostsKnown

_EXPORT = "networking.istio.io/exportTo"


def sidecar_markers(
    catalog: Catalog, wanted: Object, changed: ConfigChanged, documents: Iterable[Object]
) -> list[Marker]:
    """Which hosts the proxies are to know, where nothing else of them changes; else only that something did.

    Args:
        catalog: What stands in the cluster.
        wanted: The Sidecar.
        changed: That something did, at the pods that it is for.
        documents: What is written with it.

    Raises:
        BadInput: all of these have another Sidecar, which counts in its place.
    """
    written = {_key(document): document for document in documents if document["kind"] == "Sidecar"}
    there = {_key(sidecar): sidecar for sidecar in catalog.all("Sidecar")} | written
    others = [sidecar for key, sidecar in there.items() if key != _key(wanted)]
    where = replace(changed.where, but=tuple(_before(wanted, others)))
    _refuse_vain(catalog, wanted, where)
    home = wanted["metadata"]["namespace"]
    if not all(map(_names_hosts_alone, (wanted, *others))) or catalog.all("ServiceEntry") or catalog.all("HTTPRoute"):
        return [replace(changed, where=where)]
    entries = [str(host) for block in wanted["spec"]["egress"] for host in block["hosts"]]
    if not all(_shown(entries, home, route) for route in catalog.all("VirtualService")):
        return [replace(changed, where=where)]  # a route that it hides may lead to a host that it shows
    services = catalog.all("Service")
    open_ = [s for s in services if _is_everybodys(s)]
    hosts = frozenset(_host(s) for s in open_ if shows(entries, home, _host(s), s["metadata"]["namespace"]))
    hidden = frozenset(_host(s) for s in open_) - hosts
    return [HostsKnown(changed.what, hosts, hidden, where)]


def shows(entries: Iterable[str], home: str, host: str, owner: str) -> bool:
    """Whether one of these egress hosts (``namespace/dnsName``) shows a host of a namespace to pods in ``home``."""
    for entry in entries:
        space, _, name = entry.rpartition("/")
        there = space == "*" or owner == (home if space == "." else space)
        if there and (name in {"*", host} or (name.startswith("*") and host.endswith(name[1:]))):
            return True
    return False


def _shown(entries: Sequence[str], home: str, route: Object) -> bool:
    owner = route["metadata"]["namespace"]
    return any(shows(entries, home, full_name(host, owner), owner) for host in route["spec"].get("hosts") or [])


def _key(sidecar: Object) -> tuple[str, str]:
    return sidecar["metadata"]["name"], sidecar["metadata"]["namespace"]


def _host(service: Object) -> str:
    return service_host(ServiceRef(service["metadata"]["name"], service["metadata"]["namespace"]))


def _is_everybodys(service: Object) -> bool:
    """Whether each proxy that may know a Service has a cluster for it."""
    spec, notes = service.get("spec") or {}, service["metadata"].get("annotations") or {}
    return bool(spec.get("ports")) and spec.get("type") != "ExternalName" and _EXPORT not in notes


def _names_hosts_alone(sidecar: Object) -> bool:
    """Whether a Sidecar says nothing but which hosts are known."""
    spec: Mapping[str, Any] = sidecar.get("spec") or {}
    blocks = spec.get("egress") or []
    plain = all(set(block) == {"hosts"} for block in blocks)
    left_out = any(str(host).startswith("~") and host != "~/*" for block in blocks for host in block.get("hosts") or [])
    return bool(blocks) and set(spec) <= {"egress", "workloadSelector"} and plain and not left_out


def _pods_for(sidecar: Object) -> Where:
    selector = (sidecar.get("spec") or {}).get("workloadSelector") or {}
    return Where(sidecar["metadata"]["namespace"], selector.get("labels") or None)


def _before(wanted: Object, others: Iterable[Object]) -> list[Where]:
    """The pods for which another Sidecar counts: that for some pods before its namespace's, and that before the mesh's."""

    def rank(sidecar: Object) -> int:
        if "workloadSelector" in (sidecar.get("spec") or {}):
            return 2
        return 0 if sidecar["metadata"]["namespace"] == ROOT_NAMESPACE else 1

    return [_pods_for(other) for other in others if rank(other) > rank(wanted)]


def _refuse_vain(catalog: Catalog, wanted: Object, where: Where) -> None:
    if not where.but:
        return
    pods = [pod["metadata"] for pod in catalog.everybody()]
    if any(map(replace(where, but=()).takes, pods)) and not any(map(where.takes, pods)):
        raise BadInput(
            "MB0484",
            f"Sidecar {wanted['metadata']['name']} would change nothing: each pod that it is for has another one, which counts before it.",
            help="change that one, or take it away",
        )
