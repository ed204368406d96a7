"""Outbound policies: linkerd2-proxy-api ``outbound.proto``."""

from __future__ import annotations

import copy

from meshbdd.lab.linkerd.model import (
    FAIL_FAST,
    MAX_RETRY_BODY,
    QUEUE_CAPACITY,
    RETRY_PAUSES,
    Accrual,
    Backend,
    Backoff,
    Balancer,
    Forward,
    OutboundPolicy,
    Retries,
    Route,
    Rule,
    Timeouts,
)
from meshbdd.lab.linkerd.read.annotations import GRPC_CONDITIONS
from meshbdd.lab.linkerd.settings import ControlPlaneSettings
from meshbdd.lab.linkerd.show.common import Json, duration, filter_, host, match, meta

_EWMA = {"decay": "10s", "default_rtt": "0.030s"}
_DETECT = "10s"


def outbound(policy: OutboundPolicy, settings: ControlPlaneSettings) -> Json:
    """One policy."""
    return _Writer(settings).policy(policy)


class _Writer:
    def __init__(self, settings: ControlPlaneSettings) -> None:
        self._settings = settings

    def policy(self, policy: OutboundPolicy) -> Json:
        http: Json = {"routes": [self._http_route(r, grpc=policy.protocol == "grpc") for r in policy.http]}
        if policy.accrual is not None:
            http["failure_accrual"] = _accrual(policy.accrual)
        opaque: Json = {"routes": [self._stream_route(route) for route in policy.opaque]}
        made: Json
        match policy.protocol:
            case "detect":
                made = {"http1": http, "http2": copy.deepcopy(http), "opaque": opaque, "timeout": _DETECT}
            case "opaque":
                made = opaque
            case "tls":
                made = {"routes": [self._stream_route(route, snis=True) for route in policy.tls]}
            case _:
                made = http
        return {"metadata": meta(policy.meta), "protocol": {policy.protocol: made}}

    def _http_route(self, route: Route, *, grpc: bool) -> Json:
        return {
            "metadata": meta(route.meta),
            "hosts": [host(name) for name in route.hosts],
            "rules": [self._http_rule(rule, grpc=grpc) for rule in route.rules],
        }

    def _http_rule(self, rule: Rule, *, grpc: bool) -> Json:
        made: Json = {
            "matches": [match(found) for found in rule.matches],
            "filters": [filter_(found, grpc=grpc) for found in rule.filters],
            "backends": self._backends(rule, grpc=grpc),
            "allow_l5d_request_headers": rule.request_headers_allowed,
        }
        if rule.timeouts is not None:
            made["timeouts"] = _timeouts(rule.timeouts)
            if rule.timeouts.request is not None and not grpc:
                # The field that older proxies read.
                made["requestTimeout"] = duration(rule.timeouts.request)
        if rule.retries is not None:
            made["retry"] = _retries(rule.retries, grpc=grpc)
        return made

    def _stream_route(self, route: Route, *, snis: bool = False) -> Json:
        rules = [
            {"filters": [filter_(f) for f in rule.filters], "backends": self._backends(rule)} for rule in route.rules
        ]
        made: Json = {"metadata": meta(route.meta), "rules": rules}
        if snis:
            made["snis"] = [host(name) for name in route.hosts]
        return made

    def _backends(self, rule: Rule, *, grpc: bool = False) -> Json:
        if not rule.backends:
            return {"empty": {}}
        told = [self._route_backend(backend, grpc=grpc) for backend in rule.backends]
        if not rule.split:
            return {"first_available": {"backends": told}}
        weighted = [
            {"weight": backend.weight, "backend": one} for backend, one in zip(rule.backends, told, strict=True)
        ]
        return {"random_available": {"backends": weighted}}

    def _route_backend(self, backend: Backend, *, grpc: bool) -> Json:
        inner: Json = {
            "metadata": meta(backend.meta),
            "queue": {"capacity": QUEUE_CAPACITY, "failfast_timeout": duration(FAIL_FAST)},
        }
        if isinstance(backend.target, Forward):
            address = {"ip": backend.target.address, "port": backend.target.port}
            inner["forward"] = {"addr": address, "weight": backend.weight}
        elif isinstance(backend.target, Balancer):
            inner["balancer"] = self._balancer(backend.target)
        return {"backend": inner, "filters": [filter_(found, grpc=grpc) for found in backend.filters]}

    def _balancer(self, target: Balancer) -> Json:
        path = self._settings.authority(target.name, target.namespace, target.port)
        made: Json = {"discovery": {"dst": {"path": path}}}
        if target.biaser is None:
            made["peak_ewma"] = dict(_EWMA)
        else:
            made["penalty_peak_ewma"] = {
                **_EWMA,
                "penalty": duration(target.biaser.penalty),
                "penalty_decay": _EWMA["decay"],
                "max_retry_after": duration(target.biaser.max_retry_after),
            }
        return made


def _timeouts(timeouts: Timeouts) -> Json:
    said = {"request": timeouts.request, "response": timeouts.response, "idle": timeouts.idle}
    return {name: duration(value) for name, value in said.items() if value is not None}


def _retries(retries: Retries, *, grpc: bool) -> Json:
    conditions: Json = {"status_ranges": [{"start": start, "end": end} for start, end in retries.statuses]}
    if grpc:
        # The protobuf field is misspelt so.
        names = {"deadline-exceeded": "deadine_exceeded"}
        conditions = {names.get(n, n.replace("-", "_")): n in retries.grpc for n in GRPC_CONDITIONS}
    least, most = RETRY_PAUSES
    made: Json = {
        "max_retries": retries.limit,
        "max_request_bytes": MAX_RETRY_BODY,
        "backoff": _backoff(Backoff(least, most, 1)),
        "conditions": conditions,
    }
    if retries.timeout is not None:
        made["timeout"] = duration(retries.timeout)
    return made


def _backoff(backoff: Backoff) -> Json:
    return {
        "min_backoff": duration(backoff.least),
        "max_backoff": duration(backoff.most),
        "jitter_ratio": backoff.jitter,
        "respect_retry_after_hint": backoff.honor_retry_after,
    }


def _accrual(accrual: Accrual) -> Json:
    backoff = _backoff(accrual.backoff)
    rate = accrual.success_rate
    if rate is None:
        return {"consecutive_failures": {"max_failures": accrual.max_failures, "backoff": backoff}}
    return {
        "unified": {
            "max_consecutive_failures": accrual.max_failures,
            "backoff": backoff,
            "decay": duration(rate.window),
            "min_requests": rate.min_requests,
            "success_rate_threshold": rate.threshold,
        }
    }
