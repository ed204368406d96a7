"""Mutual TLS with Linkerd's identities: DNS names in the certificate, and the server's as the name asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshbdd.lab.compile.envoy.types import ADS, DOWNSTREAM_TLS, RAW_BUFFER, UPSTREAM_TLS, typed

Json = dict[str, Any]

IDENTITY = "identity"
MATCH_KEY = "envoy.transport_socket_match"
_TLS13 = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}


def _common(names: list[Json]) -> Json:
    # No ALPN: a connection carries the protocol of the request, and the other side sees which one that is.
    return {
        "tls_params": _TLS13,
        "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": ADS}],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": names} if names else {},
            "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": ADS},
        },
    }


def upstream_matches(identities: Iterable[str]) -> list[Json]:
    """By what each endpoint says of itself: TLS with exactly its identity, or none."""
    made = [
        {
            "name": identity,
            "match": {IDENTITY: identity},
            "transport_socket": typed(
                "envoy.transport_sockets.tls",
                UPSTREAM_TLS,
                {"sni": identity, "common_tls_context": _common([{"san_type": "DNS", "matcher": {"exact": identity}}])},
            ),
        }
        for identity in sorted(set(identities))
    ]
    plain = typed("envoy.transport_sockets.raw_buffer", RAW_BUFFER)
    return [*made, {"name": "plaintext", "match": {}, "transport_socket": plain}]


def downstream() -> Json:
    """The server's side: any identity of this mesh is asked for; who may call is a matter of policy."""
    config = {"common_tls_context": _common([]), "require_client_certificate": True}
    return typed("envoy.transport_sockets.tls", DOWNSTREAM_TLS, config)
