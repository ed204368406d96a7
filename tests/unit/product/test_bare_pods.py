"""A pod of the service asked that has no sidecar turns nobody away: what its other pods' proxies did is chance then."""

from __future__ import annotations

from typing import Any, cast

import pytest

from meshbdd.claims import Outcome, Verdict
from meshbdd.claims.responses import is_turned_away
from meshbdd.cluster import Cluster
from meshbdd.intents import ServiceRef
from meshbdd.load import Sample
from meshbdd.scenario.unmeshed import told_by_half, turned_away_by_all
from meshbdd.telemetry.proxies import Proxies

MIXED = ServiceRef("mixed", "shop")
AMBIENT = {"ambient.istio.io/redirection": "enabled"}


def _pod(name: str, *containers: str, ready: str = "True", **annotations: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": "shop", "labels": {"app": "mixed"}, "annotations": annotations}
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": meta, "spec": {"containers": [{"name": c} for c in ("app", *containers)]}, "status": status}


MESHED, BARE = _pod("mixed-1", "istio-proxy"), _pod("mixed-2")


class Objects:
    def __init__(self, *pods: dict[str, Any]) -> None:
        self.pods = list(pods)

    def find(self, _kind: str, name: str, _namespace: str) -> dict[str, Any] | None:
        found = {"metadata": {"name": name, "namespace": "shop"}, "spec": {"selector": {"app": "mixed"}}}
        return found if name == "mixed" else None

    def list(self, _kind: str, _namespace: str, labels: str | None = None) -> list[dict[str, Any]]:
        return self.pods if labels == "app=mixed" else []


def _verdict(status: int | None, *pods: dict[str, Any], asked: ServiceRef = MIXED) -> tuple[Outcome, str]:
    claim = turned_away_by_all(is_turned_away(), asked, Proxies(cast("Cluster", Objects(*pods))))
    error = "reset" if status is None else None
    verdict = claim.judge([Sample("r", 0.0, 0.1, status, error, {})])
    return verdict.outcome, verdict.sentence


def test_a_request_that_was_turned_away_by_one_of_two_pods_proves_nothing_of_the_other() -> None:
    outcome, told = _verdict(None, MESHED, BARE)
    assert outcome is Outcome.INCONCLUSIVE
    assert "pod mixed-2 of mixed.shop has no sidecar" in told


def test_only_who_is_not_ready_is_asked_by_nobody() -> None:
    ready = _pod("mixed-2")
    ready["status"]["conditions"].insert(0, {"type": "a-gate-of-theirs", "status": "False"})
    assert _verdict(None, MESHED, ready)[0] is Outcome.INCONCLUSIVE


def test_one_that_got_in_did_and_perhaps_by_that_pod() -> None:
    outcome, told = _verdict(200, MESHED, BARE)
    assert outcome is Outcome.FAILED
    assert "pod mixed-2 of mixed.shop has no sidecar" in told


@pytest.mark.parametrize(
    "pods",
    [
        (MESHED,),
        (BARE,),  # no chance in it
        (MESHED, _pod("mixed-2", ready="False")),
        (MESHED, _pod("mixed-2", **AMBIENT)),
        (),
    ],
)
def test_where_nobody_is_asked_by_chance_there_is_no_doubt(pods: tuple[dict[str, Any], ...]) -> None:
    outcome, told = _verdict(None, *pods)
    assert outcome is Outcome.PASSED
    assert "sidecar" not in told


def test_a_host_that_is_no_service_has_no_pods() -> None:
    assert _verdict(None, MESHED, BARE, asked=ServiceRef("www", "example"))[0] is Outcome.PASSED


@pytest.mark.parametrize(
    ("passed", "pods", "told"),
    [
        (False, (MESHED, BARE), True),
        (True, (MESHED, BARE), False),
        (False, (MESHED,), False),
        (False, (BARE,), False),  # the claim itself says that nobody could tell
    ],
)
def test_too_little_that_is_logged_may_be_for_a_pod_that_logs_nothing(
    passed: bool, pods: tuple[dict[str, Any], ...], told: bool
) -> None:
    found = told_by_half(Verdict.of(passed, "x"), MIXED, Proxies(cast("Cluster", Objects(*pods))))
    assert found.outcome is (Outcome.PASSED if passed else Outcome.FAILED)
    assert ("pod mixed-2 of mixed.shop has no sidecar" in found.sentence) is told
