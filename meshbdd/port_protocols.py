"""Which protocol a port is declared to speak, as Istio reads it: by ``appProtocol``, else by the first word of its name.

https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/ and istio/istio
pkg/config/kube/conversion.go; case does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HTTP = frozenset({"http", "http2", "http_proxy", "grpc", "grpc-web"})
_OTHER = {"https", "tls", "tcp", "udp", "mongo", "mysql", "redis", "hbone"}
_APPLICATION = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}
_NOT_DETECTED = {25, 53, 3306, 27017}
"""Well-known ports that Istio takes for TCP where nothing says otherwise."""


def known(word: str) -> str:
    """The protocol that a port's name or ``appProtocol`` begins with; empty for none that Istio knows."""
    word = word.lower()
    if word.startswith("grpc-web"):
        return "grpc-web"
    first = word.partition("-")[0]
    return first if first in HTTP | _OTHER else ""


def declared(name: str, app_protocol: str, number: int | None) -> str:
    """The protocol of a TCP port; empty where Istio finds out by looking into the bytes (protocol detection).

    HTTP that goes through such a port is routed as HTTP, by callers and by the server.
    """
    found = _APPLICATION.get(app_protocol) or known(app_protocol or name)
    return found or ("tcp" if number in _NOT_DETECTED else "")


def may_carry_http(protocol: str) -> bool:
    """Whether a port of this protocol is HTTP, or may be."""
    return not protocol or protocol in HTTP


def is_tcp(port: Mapping[str, Any]) -> bool:
    """Whether a Service's port, or a container's, is TCP; so it is where nothing says otherwise."""
    return str(port.get("protocol") or "TCP") == "TCP"
