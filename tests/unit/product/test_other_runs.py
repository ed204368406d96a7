"""A scenario that another run disturbs says so, and one that it does not disturb is left alone."""

from __future__ import annotations

from typing import Any, cast

import pytest

from meshbdd.cluster import Cluster
from meshbdd.cluster.record import RUN, Owner, Record, mark
from meshbdd.errors import Inconclusive
from meshbdd.scenario.other_runs import OtherRuns

GONE = Owner(Owner.me().host, Owner.me().pid, "before this process began")
ELSEWHERE = Owner("ci-4", 1, "at any time")


def _changed(namespace: str, owner: Owner | None) -> dict[str, Any]:
    obj: dict[str, Any] = {
        "kind": "VirtualService",
        "metadata": {"name": "a", "namespace": namespace, "labels": {RUN: "r2"}},
    }
    if owner is not None:
        mark(obj, Record("r2", owner, "cluster", "", created=True, layers=(), at=0.0))
    return obj


class _Cluster:
    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects = objects

    def list(self, kind: str, _namespace: str | None = None, labels: str | None = None) -> list[dict[str, Any]]:
        assert labels == f"{RUN},{RUN}!=r1", "an API server would tell of this run's own changes too"
        return [obj for obj in self.objects if obj["kind"] == kind]


def _runs(cluster: _Cluster) -> OtherRuns:
    return OtherRuns(cast("Cluster", cluster), "shop", "r1", {"money"})


@pytest.mark.parametrize("namespace", ["shop", "money", "istio-system"])
def test_a_change_where_the_scenario_is_ends_it(namespace: str) -> None:
    with pytest.raises(
        Inconclusive, match=rf"VirtualService a\.{namespace} .* run r2 \(process 1 on ci-4, since 19"
    ) as e:
        _runs(_Cluster(_changed(namespace, ELSEWHERE))).see_none()
    assert e.value.help == "let that run finish first: one run at a time can judge the services of a namespace"


def test_a_change_in_a_namespace_of_others_does_not() -> None:
    _runs(_Cluster(_changed("theirs", ELSEWHERE))).see_none()


def test_a_change_that_was_seen_and_is_gone_by_the_time_of_the_claim_ends_it() -> None:
    cluster = _Cluster(_changed("shop", ELSEWHERE))
    runs = _runs(cluster)
    runs.look()
    cluster.objects = ()
    with pytest.raises(Inconclusive, match="run r2"):
        runs.see_none()


def test_what_a_killed_run_left_is_told_as_that() -> None:
    with pytest.raises(Inconclusive, match="ended without taking it back") as e:
        _runs(_Cluster(_changed("shop", GONE))).see_none()
    assert e.value.help == "run the features again: the next run undoes it before anything else"


def test_a_change_whose_record_cannot_be_read_counts_by_its_label() -> None:
    with pytest.raises(Inconclusive, match=r"a change of run r2 meanwhile"):
        _runs(_Cluster(_changed("shop", None))).see_none()
