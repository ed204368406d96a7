"""Which protocol a port of a Service or ServiceEntry is declared to speak."""

from __future__ import annotations

from typing import Any

from meshbdd.port_protocols import declared, known, may_carry_http
from meshbdd.sense.reading import Object, mappings, text, told, whole


def protocol_of(port: Any) -> str:
    """The protocol of a Service's or ServiceEntry's port; empty where Istio finds out by looking into the bytes."""
    own = text(port, "protocol").lower()  # a ServiceEntry says it there: HTTP, GRPC, TLS …
    if own == "udp":
        return "udp"
    said = text(port, "appProtocol")
    if own and own != "tcp" and not said:
        return known(own)
    return declared(text(port, "name"), said, whole(port, "port") or whole(port, "number"))


def carries_http(host: Object) -> bool:
    """Whether one of its ports is HTTP, or may be."""
    return any(may_carry_http(protocol_of(port)) for port in mappings(host, "spec", "ports"))


def told_ports(host: Object) -> str:
    """Its ports for a sentence."""
    return told(
        [
            f"{text(p, 'name') or 'unnamed'} {whole(p, 'port') or whole(p, 'number')}"
            for p in mappings(host, "spec", "ports")
        ]
    )
