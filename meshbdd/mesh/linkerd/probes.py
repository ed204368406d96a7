"""Routes for the kubelet's probes: it has no identity, so a policy of their own lets it pass.

A Server with routes has none by default for probes: linkerd2 policy-controller/k8s/index/src/inbound/index.rs,
``http_routes``; https://linkerd.io/2/tasks/configuring-per-route-policy/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.servers import container_ports, decides_at
from meshbdd.pod_spec import containers
from meshbdd.sidecars import FAULT_LABEL, LINKERD

Object = Mapping[str, Any]
_PROBES = ("readinessProbe", "livenessProbe", "startupProbe")


def are_for_probes_alone(catalog: Catalog, routes: Iterable[Object], server: Object) -> bool:
    """Whether routes of a Server take what the kubelet asks of each pod at which it decides, and nothing else.

    A fault backend in the place of these passes on what it is asked, so its own probes are no matter.

    Args:
        catalog: Reads pods, and all Servers.
        routes: The routes, of which there is one at least.
        server: The Server.
    """
    home = server["metadata"]["namespace"]
    there = catalog.all("Server", home)
    asked: list[set[str]] = []
    for pod in catalog.pods({}, home):
        labels = pod["metadata"].get("labels") or {}
        port = decides_at(server, pod, there) if LINKERD.label in labels and FAULT_LABEL not in labels else None
        if port is not None:
            asked.append(set(_probed(pod, port)))
    return bool(asked) and all(_is_probe(match, paths) for match in _matches(routes) for paths in asked)


def _matches(routes: Iterable[Object]) -> Iterator[Object]:
    for route in routes:
        for rule in route["spec"].get("rules") or [{}]:
            yield from rule.get("matches") or [{}]


def _is_probe(match: Object, paths: set[str]) -> bool:
    path = match.get("path") or {}
    return (match.get("method"), path.get("type")) == ("GET", "Exact") and path.get("value") in paths


def _probed(pod: Object, port: int) -> Iterator[str]:
    """The paths that the kubelet asks for at a port of a pod."""
    names = container_ports(pod)
    for container in containers(pod["spec"]):
        for get in ((container.get(probe) or {}).get("httpGet") for probe in _PROBES):
            if get and (get["port"] if isinstance(get["port"], int) else names.get(str(get["port"]))) == port:
                yield str(get.get("path") or "/").partition("?")[0]
