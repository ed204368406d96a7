"""Istio's names: hosts, clusters, SNI, and the path that says which object a piece of configuration came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

DOMAIN = "cluster.local"


def full_host(host: str, namespace: str) -> str:
    """A host as an object of ``namespace`` writes it: short names are completed, anything with a dot stands."""
    if "." in host or host == "*" or not host:
        return host
    return f"{host}.{namespace}.svc.{DOMAIN}"


def covers(pattern: str, host: str) -> bool:
    """Whether a host pattern (``*``, ``*.example``, or a name) covers a host."""
    if pattern == "*":
        return True
    if pattern.startswith("*"):
        return host.endswith(pattern[1:])
    return pattern == host


def within(host: str, pattern: str) -> bool:
    """Whether every host of a pattern (``host``) is one of another."""
    if host.startswith("*"):
        return pattern.startswith("*") and len(host) >= len(pattern) and host[1:].endswith(pattern[1:])
    return covers(pattern, host)


def overlaps(one: str, other: str) -> bool:
    """Whether one of two host patterns holds all hosts of the other."""
    return within(one, other) or within(other, one)


def specificity(pattern: str) -> tuple[bool, int]:
    """Sort key of host patterns: exact ones first, then the longest."""
    return pattern.startswith("*"), -len(pattern)


def outbound_cluster(port: int, host: str, subset: str = "") -> str:
    """The cluster of a Service's port."""
    return f"outbound|{port}|{subset}|{host}"


def inbound_cluster(port: int) -> str:
    """The cluster of a workload's own port."""
    return f"inbound|{port}||"


def sni(port: int, host: str, subset: str = "") -> str:
    """The server name that a sidecar asks for."""
    return f"outbound_.{port}_.{subset}_.{host}"


def kebab(kind: str) -> str:
    """``VirtualService`` → ``virtual-service``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", kind).lower()


def origin(obj: Mapping[str, Any]) -> str:
    """Where a piece of configuration came from, as Istio writes it into ``metadata.filter_metadata.istio.config``."""
    group = str(obj["apiVersion"]).rpartition("/")[0]
    meta = obj["metadata"]
    return f"/apis/{group}/v1/namespaces/{meta['namespace']}/{kebab(obj['kind'])}/{meta['name']}"
