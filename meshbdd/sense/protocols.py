"""Which protocol a port is declared to speak: by ``appProtocol``, else by the first word of its name.

https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
"""

from __future__ import annotations

from typing import Any

from meshbdd.sense.reading import Object, mappings, text, told, whole

_HTTP = {"http", "http2", "http_proxy", "grpc", "grpc-web"}
_OTHER = {"https", "tls", "tcp", "udp", "mongo", "mysql", "redis", "hbone"}
_APPLICATION = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}
_NOT_SNIFFED = {25, 53, 3306, 27017}
"""Well-known ports that Istio takes for TCP where no name says otherwise."""


def protocol_of(port: Any) -> str:
    """The protocol of a Service's or ServiceEntry's port; empty where Istio finds out by looking into the bytes."""
    if text(port, "protocol").upper() == "UDP":
        return "udp"
    said = text(port, "appProtocol").lower()
    if said:
        return _APPLICATION.get(said) or _known(said)
    own = text(port, "protocol").lower()  # a ServiceEntry says it there: HTTP, GRPC, TLS …
    if own and own != "tcp":
        return _known(own)
    found = _known(text(port, "name").lower())
    number = whole(port, "port") or whole(port, "number")
    return found or ("tcp" if number in _NOT_SNIFFED else "")


def _known(name: str) -> str:
    if name == "grpc-web" or name.startswith("grpc-web-"):
        return "grpc-web"
    word = name.partition("-")[0]
    return word if word in _HTTP | _OTHER else ""


def carries_http(host: Object) -> bool:
    """Whether one of its ports is HTTP, or may be."""
    return any(protocol_of(port) in _HTTP | {""} for port in mappings(host, "spec", "ports"))


def told_ports(host: Object) -> str:
    """Its ports for a sentence."""
    return told(
        [
            f"{text(p, 'name') or 'unnamed'} {whole(p, 'port') or whole(p, 'number')}"
            for p in mappings(host, "spec", "ports")
        ]
    )
