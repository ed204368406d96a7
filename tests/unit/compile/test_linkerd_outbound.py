"""Linkerd's outbound policies by table: an input, and what Linkerd's own source makes of it.

The expectations are read from linkerd2 b24cd405984, the revision of the recorded answers in tests/golden; each table names
its file.
"""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.lab.linkerd.compile import Questions
from meshbdd.lab.linkerd.policies import Policies

Object = dict[str, Any]

ACCRUAL = "balancer.linkerd.io/failure-accrual"
CONSECUTIVE = f"{ACCRUAL}-consecutive"
ALPHA = "balancer.alpha.linkerd.io/"
RATE = f"{ALPHA}failure-accrual-success-rate"
HONOR = f"{ALPHA}failure-accrual-honor-retry-after"
PENALIZE = f"{ALPHA}penalize-failures"
NO_BOOLEAN = "(expected a boolean such as 'true' or 'false')"
GATEWAY, POLICY = "gateway.networking.k8s.io/v1", "policy.linkerd.io/v1beta3"
SERVICE = {"group": "core", "kind": "Service", "name": "order", "port": 80}
BORN = "2026-01-01T00:00:00Z"


def service(
    annotations: dict[str, str] | None = None, name: str = "order", address: str = "10.1.0.1", **spec: Any
) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations or {}},
        "spec": {"clusterIP": address, "clusterIPs": [address], "ports": [{"port": 80}], **spec},
    }


def route(
    rule: Object | None = None,
    kind: str = "HTTPRoute",
    version: str = GATEWAY,
    parent: Object | None = None,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    meta = {"name": "r", "namespace": "shop", "creationTimestamp": BORN, "annotations": annotations or {}}
    rules = [rule if rule is not None else {"backendRefs": [{"name": "order", "port": 80}]}]
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": meta,
        "spec": {"parentRefs": [parent or SERVICE], "rules": rules, **spec},
    }


def asked(*objects: Object, of: str = "order.shop:80", log: list[str] | None = None) -> Any:
    """The protocol and the policy below it, as the proxy is told."""
    policies = Policies(objects)
    told = Questions(policies).outbound(f"{of} from shop")
    if log is not None:
        log += policies.log()
    return told.get("protocol", told)


def first_rule(*objects: Object, of: str = "order.shop:80") -> Any:
    protocol = asked(*objects, of=of)
    (told,) = protocol.values()
    return told.get("http1", told)["routes"][0]["rules"][0]


def breaker(annotations: dict[str, str]) -> tuple[Any, list[str]]:
    """A Service's circuit breaker, and the complaints without where they are from."""
    log: list[str] = []
    told = asked(service(annotations), log=log)["detect"]["http1"].get("failure_accrual")
    return told, [line.partition(" service=")[0] for line in log]


@pytest.mark.parametrize(
    ("mode", "said", "honored", "complaints"),
    [
        ("consecutive", "true", False, []),
        ("unified", None, False, []),
        *(("unified", word, True, []) for word in ("1", "t", "T", "true", "TRUE", "True", " true ")),
        *(("unified", word, False, []) for word in ("0", "f", "F", "false", "FALSE", "False")),
        (
            "unified",
            "yes",
            False,
            [f"WARN Failed to parse honor-retry-after toggle error=unsupported {HONOR} value: 'yes' {NO_BOOLEAN}"],
        ),
    ],
)
def test_only_the_unified_breaker_honors_retry_after(
    mode: str, said: str | None, honored: bool, complaints: list[str]
) -> None:
    """policy-controller/k8s/index/src/outbound/index.rs parse_bool_annotation; policy-controller/grpc/src/outbound.rs."""
    told, log = breaker({ACCRUAL: mode} | ({HONOR: said} if said is not None else {}))
    assert next(iter(told.values()))["backoff"]["respect_retry_after_hint"] is honored
    assert log == complaints


@pytest.mark.parametrize(
    ("said", "estimator"),
    [("True", "penalty_peak_ewma"), ("1", "penalty_peak_ewma"), ("F", "peak_ewma"), ("yes", "peak_ewma")],
)
def test_the_load_biaser_is_switched_by_the_same_words(said: str, estimator: str) -> None:
    balancer = first_rule(service({PENALIZE: said}))["backends"]["first_available"]["backends"][0]["backend"][
        "balancer"
    ]
    assert {"peak_ewma", "penalty_peak_ewma"} & set(balancer) == {estimator}
