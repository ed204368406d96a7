"""A small world for tests of the compiler: pods and Services in a few lines, resources as YAML."""

from __future__ import annotations

from typing import Any

import yaml

from meshbdd.lab.compile import Compiled, Mesh, compile_pod
from tests.golden.meaning import world

ORDER, CLIENT = "order-stable-1.shop", "client-1.other"


def objects(text: str, namespace: str = "shop") -> list[dict[str, Any]]:
    """The objects of YAML, created one second after the other."""
    made = [d for d in yaml.safe_load_all(text) if d]
    for number, item in enumerate(made):
        item["metadata"].setdefault("namespace", namespace)
        item["metadata"].setdefault("creationTimestamp", f"2026-01-01T00:00:{number:02d}Z")
    return made


def compile_for(pod: str, text: str, *more: dict[str, Any]) -> Compiled:
    """Compile YAML for a pod of the golden cases' world."""
    name, _, namespace = pod.partition(".")
    return compile_pod(Mesh.read([*world(), *more, *objects(text)]), name, namespace)


def filters(compiled: Compiled, port: int = 8080) -> list[dict[str, Any]]:
    """The HTTP filters of an inbound port's first chain."""
    chain = next(
        c for c in compiled.filter_chains.values() if c.get("filter_chain_match", {}).get("destination_port") == port
    )
    manager = next(f for f in chain["filters"] if f["name"].endswith("http_connection_manager"))
    found: list[dict[str, Any]] = manager["typed_config"]["http_filters"]
    return found


def virtual_host(compiled: Compiled, host: str, port: int = 80) -> dict[str, Any]:
    """The virtual host of a Service of ``shop``, or of a host with a dot."""
    full = host if "." in host else f"{host}.shop.svc.cluster.local"
    found = next(v for v in compiled.routes[str(port)]["virtual_hosts"] if v["name"] == f"{full}:{port}")
    return dict(found)


def routes(compiled: Compiled, host: str, port: int = 80) -> list[dict[str, Any]]:
    """Its routes."""
    return list(virtual_host(compiled, host, port)["routes"])


def cluster(compiled: Compiled, host: str, subset: str = "", port: int = 80) -> dict[str, Any]:
    """The cluster of a Service of ``shop``."""
    return compiled.clusters[f"outbound|{port}|{subset}|{host}.shop.svc.cluster.local"]
