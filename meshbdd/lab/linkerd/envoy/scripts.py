"""The Lua of a sidecar: what linkerd-proxy does and Envoy has no setting for.

Upstream, each answer's meaning for the router is written into its status: whether it counts as a failure of the
endpoint, whether it is tried again. Downstream, the original status is put back, a gRPC status is made to fit, a
request that found no endpoint waits as long as Linkerd's queue would let it, and a backend of a split for which one has
waited in vain is passed over until it has an endpoint.

Where Linkerd drops a connection, the script shuts its socket down before the route answers: none of Envoy's filters ends
a connection without an answer, but LuaJIT calls C.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshbdd.lab.linkerd.envoy import lua

Json = dict[str, Any]

LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
ORIGINAL_STATUS, ORIGINAL_GRPC = "x-meshbdd-lab-status", "x-meshbdd-lab-grpc-status"
COUNTED, COUNTED_AND_RETRIED, ONLY_RETRIED = 598, 597, 497
RETRIED = [ONLY_RETRIED, COUNTED_AND_RETRIED]
FAILED_GRPC = (4, 7, 13, 14, 15)
"""DEADLINE_EXCEEDED, PERMISSION_DENIED, INTERNAL, UNAVAILABLE, DATA_LOSS: linkerd2-proxy app/core/src/classify.rs."""
_GRPC_NUMBERS = {
    "cancelled": 1, "deadline-exceeded": 4, "resource-exhausted": 8, "internal": 13, "unavailable": 14,
}  # fmt: skip


def _set(numbers: Iterable[int]) -> str:
    return ", ".join(f"[{number}] = true" for number in numbers)


def _filter(name: str, code: str) -> Json:
    return {"name": name, "typed_config": {"@type": LUA, "default_source_code": {"inline_string": code}}}


def upstream(*, counts: bool, too_many: bool, retried: Iterable[str]) -> Json:
    """The filter in a cluster.

    Args:
        counts: Whether the parent has failure accrual.
        too_many: Whether 429 counts as a failure (the unified mode).
        retried: gRPC statuses that are tried again.
    """
    code = lua.UPSTREAM % {
        "counted": _set(FAILED_GRPC if counts else ()),
        "retried": _set(_GRPC_NUMBERS[name] for name in retried),
        "original": ORIGINAL_STATUS,
        "original_grpc": ORIGINAL_GRPC,
        "both": COUNTED_AND_RETRIED,
        "count": COUNTED,
        "retry": ONLY_RETRIED,
        "too_many": "true" if too_many else "false",
    }
    return _filter("meshbdd.lab.statuses", code)


ANSWERS = "meshbdd.lab.answers"
"""Name of the outbound side's filter, and of the metadata in which a route speaks to it."""
TIMER = "lab-timer"
"""Cluster that answers after as long as it is asked to."""
NOBODY, ELAPSED, LOGICAL, RETRIES_504, REFUSED, MESHED = (
    "x-meshbdd-lab-nobody", "x-meshbdd-lab-elapsed", "x-meshbdd-lab-logical", "x-meshbdd-lab-retries-504",
    "x-meshbdd-lab-refused", "x-meshbdd-lab-meshed",
)  # fmt: skip

_UNUSED = 5000
"""Milliseconds after which what nobody asked for is forgotten: ``proxy.outboundDiscoveryCacheUnusedTimeout`` of linkerd2
charts/linkerd-control-plane/values.yaml."""
_DESCRIPTORS = 4095
"""The highest descriptor that may be a caller's connection; a sidecar opens some hundreds."""
REACHED = "x-meshbdd-lab-reached"
GRPC_FITS = "x-meshbdd-lab-grpc-fits"
PASSED_OVER = "x-meshbdd-lab-passed-over"
"""Of a request: the backends that have nobody and have been waited for in vain, each in angle brackets."""


def downstream(wait_milliseconds: int) -> Json:
    """The filter of the outbound side."""
    code = lua.DOWNSTREAM % {
        "timer": TIMER, "original": ORIGINAL_STATUS, "original_grpc": ORIGINAL_GRPC, "nobody": NOBODY,
        "elapsed": ELAPSED, "meshed": MESHED, "refused": REFUSED, "logical": LOGICAL, "retries_504": RETRIES_504, "wait": wait_milliseconds,
        "reached": REACHED, "grpc_fits": GRPC_FITS, "passed_over": PASSED_OVER, "descriptors": _DESCRIPTORS, "unused": _UNUSED,
    }  # fmt: skip
    return _filter(ANSWERS, code)


PROTOCOL, UNFETCHED = "x-meshbdd-lab-protocol", "x-meshbdd-lab-unfetched"
"""Of an answer that the application did not give: by which protocol it was called. Of a request: no policy is known yet."""
_ASKED, _FIRST = "x-meshbdd-lab-asked", 201
"""For which port a policy is to be known, and the answer that nobody has asked for it before."""


def inbound(port: int, wait_milliseconds: int) -> Json:
    """The filter of one port's inbound side.

    An application that refuses is waited for where the caller speaks HTTP/2. The first request to a port that the pod
    does not declare is judged before its policy is known; whether one is the first, ``fetched`` knows.
    """
    code = lua.INBOUND % {
        "protocol": PROTOCOL, "timer": TIMER, "wait": wait_milliseconds, "unfetched": UNFETCHED,
        "port": port, "asked": _ASKED, "first": _FIRST,
    }  # fmt: skip
    return _filter(ANSWERS, code)


def fetched() -> Json:
    """What remembers the ports whose policies have been asked for, at the timer.

    Every filter has a memory of its own, and a port has one for each kind of connection, which a change of the port's
    protocol makes anew; the timer's lasts as long as the sidecar.
    """
    return _filter("meshbdd.lab.fetched", lua.FETCHED % {"asked": _ASKED, "first": _FIRST})
