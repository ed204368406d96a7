"""Shapes that outbound and inbound policies share: linkerd2-proxy-api ``meta.proto``, ``http_route.proto``."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

from meshbdd.lab.compile.ir import HeaderOps, Match, Text
from meshbdd.lab.linkerd.model import (
    Default,
    FailureInjector,
    Filter,
    Forbidden,
    Invalid,
    Meta,
    Modifier,
    Redirection,
    RpcMatch,
)

Json = dict[str, Any]


def duration(value: Decimal) -> str:
    """Seconds as protobuf JSON has them: whole, or with 3, 6 or 9 digits."""
    whole, rest = divmod(int(value * 1_000_000_000), 1_000_000_000)
    if not rest:
        return f"{whole}s"
    digits = f"{rest:09d}"
    while len(digits) > 3 and digits.endswith("000"):
        digits = digits[:-3]
    return f"{whole}.{digits}s"


def meta(found: Meta) -> Json:
    """Where a piece of policy came from."""
    if isinstance(found, Default):
        return {"default": found.name}
    return {
        "resource": {
            "group": found.group, "kind": found.kind, "name": found.name, "namespace": found.namespace,
            "port": found.port, "section": found.section,
        }
    }  # fmt: skip


def network(cidr: str) -> Json:
    """A block of addresses."""
    block = ip_network(cidr, strict=False)
    return {"ip": str(block.network_address), "prefix_len": block.prefixlen}


def host(name: str) -> Json:
    """A host name, or a pattern by its labels from the end."""
    if name.startswith("*."):
        return {"suffix": {"reverse_labels": list(reversed(name[2:].split(".")))}}
    return {"exact": name}


def _named(name: str, text: Text) -> Json:
    return {"name": name, **text}


def match(found: Match | RpcMatch) -> Json:
    """One match."""
    headers = [_named(name, text) for name, text in found.headers.items()]
    if isinstance(found, RpcMatch):
        return {
            "headers": headers,
            **({} if found.any_rpc else {"rpc": {"service": found.service, "method": found.method}}),
        }
    made: Json = {"headers": headers, "query_params": [_named(name, text) for name, text in found.query.items()]}
    if found.uri is not None:
        made["path"] = {"prefix" if kind == "path_prefix" else kind: value for kind, value in found.uri.items()}
    if found.method is not None:
        made["method"] = {"registered": found.method["exact"]}
    return made


def _headers(said: Mapping[str, str]) -> Json:
    return {"headers": [{"name": name, "value": value} for name, value in said.items()]}


def _modifier(ops: HeaderOps) -> Json:
    made: Json = {"remove": list(ops.remove)}
    for name, said in (("add", ops.add), ("set", ops.set)):
        if said:
            made[name] = _headers(said)
    return made


def filter_(found: Filter, *, grpc: bool = False) -> Json:
    """One filter; a gRPC route is told nothing of those that it cannot have (grpc.rs, ``convert_to_filter``)."""
    match found:
        case Redirection() | Modifier(side="response") if grpc:
            return {}
        case FailureInjector() if grpc:
            code = found.status if found.code is None else found.code
            return {"failure_injector": {"code": code, "message": found.message}}
        case FailureInjector():
            return {"failure_injector": {"status": found.status, "message": found.message}}
        case Modifier():
            return {f"{found.side}_header_modifier": _modifier(found.ops)}
        case Forbidden():
            return {"forbidden": {}}
        case Invalid():
            return {"invalid": {"message": found.message}}
        case Redirection():
            made: Json = {"status": found.status, "host": found.host, "port": found.port}
            if found.path is not None:
                made["path"] = dict(found.path)
            if found.scheme is not None:
                made["scheme"] = {"registered": found.scheme.upper()}
            return {"redirect": made}
