"""Mutual TLS on both sides of a call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshbdd.lab.compile.envoy.types import DOWNSTREAM_TLS, RAW_BUFFER, UPSTREAM_TLS, typed

_TRUST_DOMAIN = "spiffe://cluster.local/"
# istio/istio pilot/pkg/security/model: SupportedCiphers
_CIPHERS = [
    "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-GCM-SHA256",
]  # fmt: skip
_PARAMS = {"tls_maximum_protocol_version": "TLSv1_3", "tls_minimum_protocol_version": "TLSv1_2"}


def _secret(name: str) -> dict[str, Any]:
    source = {
        "api_type": "GRPC",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
        "set_node_on_first_message_only": True,
        "transport_api_version": "V3",
    }
    config = {"api_config_source": source, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    return {"name": name, "sds_config": config}


def _common(alpn: list[str], names: list[dict[str, str]], params: dict[str, Any]) -> dict[str, Any]:
    validation: dict[str, Any] = {"match_subject_alt_names": names} if names else {}
    return {
        "alpn_protocols": alpn,
        "combined_validation_context": {
            "default_validation_context": validation,
            "validation_context_sds_secret_config": _secret("ROOTCA"),
        },
        "tls_certificate_sds_secret_configs": [_secret("default")],
        "tls_params": params,
    }


def upstream(sni: str, identities: Iterable[str], *, http2: bool) -> dict[str, Any]:
    """The caller's side: our certificate, theirs must carry one of ``identities``."""
    alpn = ["istio-peer-exchange", "istio", *(["h2"] if http2 else [])]
    names = [{"exact": identity} for identity in identities]
    return typed(
        "envoy.transport_sockets.tls", UPSTREAM_TLS, {"common_tls_context": _common(alpn, names, _PARAMS), "sni": sni}
    )


def automatic(sni: str, identities: Iterable[str], *, http2: bool) -> list[dict[str, Any]]:
    """Istio's automatic mutual TLS: by what each endpoint says of itself."""
    return [
        {
            "name": "tlsMode-istio",
            "match": {"tlsMode": "istio"},
            "transport_socket": upstream(sni, identities, http2=http2),
        },
        {
            "name": "tlsMode-disabled",
            "match": {},
            "transport_socket": typed("envoy.transport_sockets.raw_buffer", RAW_BUFFER),
        },
    ]


def downstream(*, http: bool = True) -> dict[str, Any]:
    """The callee's side: a certificate of this trust domain is asked for."""
    alpn = ["h2", "http/1.1"] if http else ["istio-peer-exchange", "h2", "http/1.1"]
    common = _common(alpn, [{"prefix": _TRUST_DOMAIN}], {"cipher_suites": _CIPHERS, **_PARAMS})
    config = {"common_tls_context": common, "require_client_certificate": True}
    return typed("envoy.transport_sockets.tls", DOWNSTREAM_TLS, config)
