"""TLS on both sides of a call: the mesh's own, and that of a DestinationRule's certificates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.lab.compile.envoy.types import (
    DOWNSTREAM_TLS,
    HTTP_OPTIONS,
    HTTP_OPTIONS_KEY,
    PROXY_PROTOCOL,
    RAW_BUFFER,
    UPSTREAM_TLS,
    typed,
)

_CONFIG_MAP, _CA = "configmap://", "-cacert"
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


def _of_files(name: str) -> dict[str, Any]:
    """A secret that Istio's agent makes of files in the pod."""
    made = _secret(name)
    return {**made, "sds_config": {k: v for k, v in made["sds_config"].items() if k != "initial_fetch_timeout"}}


def _over_ads(name: str) -> dict[str, Any]:
    """A secret that Istio makes of one of Kubernetes'."""
    return {"name": name, "sds_config": {"ads": {}, "resource_api_version": "V3"}}


def apply_own(cluster: dict[str, Any], block: Mapping[str, Any], *, http2: bool, may_use_secrets: bool) -> None:
    """TLS as a DestinationRule words it, with the caller's own certificates or with none, in place.

    Args:
        cluster: The cluster.
        block: The DestinationRule's ``tls``, in mode SIMPLE or MUTUAL.
        http2: Whether the cluster speaks HTTP/2.
        may_use_secrets: Whether ``credentialName`` counts, which it does in rules for single workloads; in any other
            Istio lets it undo the whole block, so that calls are in plaintext.

    istio/istio ``pilot/pkg/networking/core/cluster_tls.go``.
    """
    name, skips = block.get("credentialName") or "", bool(block.get("insecureSkipVerify"))
    if name and not may_use_secrets and not name.startswith(_CONFIG_MAP):
        return
    mutual = block["mode"] == "MUTUAL"
    checked: dict[str, Any] = {}
    if sans := block.get("subjectAltNames"):
        checked["match_subject_alt_names"] = [{"exact": san} for san in sans]
    common: dict[str, Any] = {"tls_params": _PARAMS, **({"alpn_protocols": ["h2"]} if http2 else {})}
    if name:
        own, root = _over_ads(_resource(name)), _over_ads(_resource(f"{name}{_CA}"))
    else:
        own = _of_files(f"file-cert:{block.get('clientCertificate')}~{block.get('privateKey')}")
        root = _of_files(f"file-root:{block.get('caCertificates') or 'system'}")
        if crl := block.get("caCrl"):
            checked["crl"] = {"filename": crl}
    if mutual:
        common["tls_certificate_sds_secret_configs"] = [own]
    if not skips:
        common["combined_validation_context"] = {
            "default_validation_context": checked,
            "validation_context_sds_secret_config": root,
        }
    elif not name:
        common["validation_context"] = {}
    sni = block.get("sni")
    cluster["transport_socket"] = typed(
        "envoy.transport_sockets.tls", UPSTREAM_TLS, {"common_tls_context": common, **({"sni": sni} if sni else {})}
    )
    if not sni:
        _name_by_the_host(cluster, checks=not block.get("subjectAltNames") and not skips)


def _resource(name: str) -> str:
    return name if name.startswith(_CONFIG_MAP) else f"kubernetes://{name}"


def _name_by_the_host(cluster: dict[str, Any], *, checks: bool) -> None:
    """Send the host of each request as the server's name, and check the certificate against it."""
    options = cluster.setdefault("typed_extension_protocol_options", {}).setdefault(
        HTTP_OPTIONS_KEY, {"@type": HTTP_OPTIONS, "explicit_http_config": {"http_protocol_options": {}}}
    )
    options["upstream_http_protocol_options"] = {"auto_sni": True, **({"auto_san_validation": True} if checks else {})}


def wrap_in_proxy_protocol(cluster: dict[str, Any], block: Mapping[str, Any]) -> None:
    """Tell the callee the caller's address first, by the PROXY protocol, in place."""
    version = {"version": "V2"} if block.get("version") == "V2" else {}

    def wrapped(inner: Mapping[str, Any]) -> dict[str, Any]:
        return typed(
            "envoy.transport_sockets.upstream_proxy_protocol",
            PROXY_PROTOCOL,
            {"config": version, "transport_socket": inner},
        )

    matches = cluster.get("transport_socket_matches")
    if matches:
        cluster["transport_socket_matches"] = [
            {**match, "transport_socket": wrapped(match["transport_socket"])} for match in matches
        ]
    else:
        plain = typed("envoy.transport_sockets.raw_buffer", RAW_BUFFER)
        cluster["transport_socket"] = wrapped(cluster.get("transport_socket", plain))


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
