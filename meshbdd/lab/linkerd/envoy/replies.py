"""Answers that a sidecar makes itself: Envoy's, turned into linkerd-proxy's statuses and headers, without a body.

linkerd2-proxy linkerd/app/outbound/src/http/server.rs, …/inbound/src/http/server.rs
"""

from __future__ import annotations

from typing import Any

from meshbdd.lab.linkerd.envoy import scripts
from meshbdd.lab.linkerd.envoy.matches import ERROR_HEADER, header

Json = dict[str, Any]

_LOGICAL = "logical service %METADATA(ROUTE:linkerd:logical)%: route %ROUTE_NAME%"
_CLOSE = header("l5d-proxy-connection", "close")
_BACKEND = "%UPSTREAM_CLUSTER_RAW%"


def _mapper(flags: list[str], status: int, headers: list[Json]) -> Json:
    return {
        "filter": {"response_flag_filter": {"flags": flags}},
        "status_code": status,
        "body": {"inline_string": ""},
        "headers_to_add": headers,
    }


def _nobody() -> list[Json]:
    return [
        header(scripts.NOBODY, _BACKEND),
        header(scripts.LOGICAL, _LOGICAL),
        header(scripts.RETRIES_504, "%METADATA(ROUTE:linkerd:retries_504)%"),
    ]


def outbound() -> Json:
    """``local_reply_config`` of the outbound side: its answers say what went wrong."""
    connect = "endpoint %UPSTREAM_HOST%: client error (Connect)"
    broken = "endpoint %UPSTREAM_HOST%: client error (SendRequest)"
    late = f"{_LOGICAL}: backend {_BACKEND}: timed out waiting for response headers: request timeout"
    return {
        "mappers": [
            _mapper(["UH"], 503, [_CLOSE, *_nobody()]),
            _mapper(
                ["UF"],
                502,
                [
                    header(ERROR_HEADER, connect),
                    _CLOSE,
                    *_nobody(),
                    header(scripts.ELAPSED, "%DURATION%"),  # while it connected it was waiting already
                    header(scripts.REFUSED, "%UPSTREAM_HOST%"),
                    header(scripts.MESHED, "%UPSTREAM_METADATA(linkerd:identity)%"),
                ],
            ),
            _mapper(["UC", "UR", "UPE", "LR"], 502, [header(ERROR_HEADER, broken), _CLOSE]),
            _mapper(["UT"], 504, [header(ERROR_HEADER, late), header(scripts.GRPC_FITS, "4")]),
        ]
    }


def inbound() -> Json:
    """``local_reply_config`` of the inbound side: statuses alone."""
    any_status = {"comparison": {"op": "GE", "value": {"default_value": 100, "runtime_key": "unused"}}}
    return {
        "mappers": [
            _mapper(["UF"], 502, [header(scripts.PROTOCOL, "%PROTOCOL%")]),
            _mapper(["UC", "UR", "UPE", "LR"], 502, []),
            {"filter": {"status_code_filter": any_status}, "body": {"inline_string": ""}},
        ]
    }
