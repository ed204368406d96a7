"""A scrape that fails takes all series of its pod away: it is named as the reason, and no query is blamed for it, nor the pods."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.claims import Verdict
from meshbdd.errors import Inconclusive
from meshbdd.scenario import scrapes
from meshbdd.scenario.queries import Queries
from meshbdd.sidecars import ISTIO
from meshbdd.telemetry.prometheus import Prometheus
from meshbdd.units import Duration

COUNTS = 'the query "sum(a_total)" is at least 1'


class _TwoPods:
    """Scrapes two pods: scrapes of the second one may fail.

    Attributes:
        fails: How many scrapes of it fail that are still to come.
    """

    def __init__(self) -> None:
        self.now, self.fails = 0.0, 0

    def __call__(self, path: str, parameters: Mapping[str, str]) -> Any:
        if path.endswith("metadata"):
            return {"data": {}}
        query = parameters["query"]
        if query == "time()":
            return {"status": "success", "data": {"resultType": "scalar", "result": [0, str(self.now)]}}
        if "timestamp" in query:
            return self._vector(*self._scraped())
        gone = self.fails > 0
        ended = "unless" in query or "resets" in query
        if ended:
            return self._vector(({}, 1.0)) if gone else self._vector()
        return self._vector(({}, 7.0))

    def _scraped(self) -> tuple[tuple[dict[str, str], float], ...]:
        self.now += 1.0
        down = self.fails > 0
        self.fails -= down
        return ({"instance": "127.1.0.1:15020"}, self.now), ({"instance": "127.1.0.2:15020"}, 0.0 if down else self.now)

    def _vector(self, *rows: tuple[dict[str, str], float]) -> Any:
        result = [{"metric": labels, "value": [0, str(value)]} for labels, value in rows]
        return {"status": "success", "data": {"resultType": "vector", "result": result}}


class _Scenario:
    """A scenario with one query; the pages of its pods have ``a_total``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: int = 0) -> None:
        self.prometheus = _TwoPods()
        self.prometheus.fails = fails
        monkeypatch.setattr("meshbdd.scenario.queries.over_http", lambda _url: self.prometheus)
        monkeypatch.setitem(scrapes._SCRAPE, "lab", Duration(0.05))
        environment = SimpleNamespace(
            settings=SimpleNamespace(prometheus="http://p"),
            target="lab",
            wait_still=lambda: None,
            tell=lambda _event: None,
            sent=SimpleNamespace(are_earlier=lambda _: False),
        )
        traffic = SimpleNamespace(
            own=SimpleNamespace(ids=set()), samples=[], wait_met=lambda: None, met=lambda verdict, _ids=(): verdict
        )
        pods = [{"metadata": {"name": f"p{number}"}, "status": {"podIP": f"127.1.0.{number}"}} for number in (1, 2)]
        proxies = SimpleNamespace(
            every=lambda: pods,
            sidecars=SimpleNamespace(metrics=(15020, "/"), scraped=(15020, 15090)),
            tunnel=lambda _pod, _port: SimpleNamespace(text=lambda _path: "# TYPE a_total counter\na_total 3\n"),
        )
        log = SimpleNamespace(proxies=proxies, everything=list)
        self._queries = Queries(cast("Any", environment), cast("Any", traffic), cast("Any", log), [COUNTS])

    def __call__(self, promql: str = "sum(a_total)") -> Verdict:
        return self._queries.judge("the claim", promql, "at least", 7, None)


def test_a_pod_whose_scrapes_fail_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = _Scenario(monkeypatch)
    judge.prometheus.fails = 10_000
    verdict = judge()
    assert verdict.outcome == "inconclusive"
    assert "Prometheus' last scrape of pod p2 failed, and it has no series of it then" in verdict.sentence
    assert "ended in this scenario" not in verdict.sentence
    assert judge("sum(b_total)").outcome == "inconclusive", "its series ended, whatever the query is about"
    assert "p2" not in judge("b_gauge").sentence, "the pod has no such series"


def test_one_scrape_that_failed_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = _Scenario(monkeypatch)
    judge.prometheus.fails = 3
    assert judge().outcome == "passed"


def test_a_prometheus_all_of_whose_scrapes_fail_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    def scraped(self: _TwoPods) -> Any:
        return tuple((labels, 0.0) for labels in ({"instance": "127.1.0.1:15020"}, {"instance": "127.1.0.2:15020"}))

    monkeypatch.setattr(_TwoPods, "_scraped", scraped)
    with pytest.raises(Inconclusive, match="all of its last scrapes failed") as caught:
        _Scenario(monkeypatch)()
    assert caught.value.code == "MB0648"


def test_a_metric_that_no_target_has_any_more_is_not_offered_as_the_nearest_one() -> None:
    def ask(path: str, _parameters: Mapping[str, str]) -> Any:
        if path.endswith("values"):
            return {"data": ["a_total", "b_total"]}
        return {"status": "success", "data": {"resultType": "vector", "result": []}}

    assert Prometheus(ask).why_empty("sum(a_total)") == "no series has changed, or an operator found no pair"
    assert Prometheus(ask).why_empty("a_total") == "there was the metric a_total, but no target has it now"
    assert Prometheus(ask).why_empty("a_totals") == "there is no metric a_totals; the nearest is a_total"


def test_of_an_address_with_several_targets_that_at_the_proxys_port_counts() -> None:
    rows = [
        ("10.0.0.1:8080", "0"), ("10.0.0.1:15020", "9"), ("10.0.0.1:15090", "0"),
        ("10.0.0.2:8080", "9"), ("10.0.0.2:15020", "0"),
        ("10.0.0.3:8080", "9"), ("10.0.0.3:9", "0"), ("pod", "7"),
    ]  # fmt: skip

    def ask(_path: str, _parameters: Mapping[str, str]) -> Any:
        result = [{"metric": {"instance": instance}, "value": [0, value]} for instance, value in rows]
        return {"status": "success", "data": {"resultType": "vector", "result": result}}

    found = Prometheus(ask).last_scrapes(ISTIO.scraped)
    assert found == {"10.0.0.1": 9.0, "10.0.0.2": 0.0, "10.0.0.3": 9.0, "": 7.0}


def test_a_pod_whose_scrapes_succeed_again_is_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = _Scenario(monkeypatch)
    judge.prometheus.fails = 10_000
    assert judge().outcome == "inconclusive"
    judge.prometheus.fails = 0
    assert judge().outcome == "passed"


def test_what_a_pod_had_counted_is_not_known_where_its_scrapes_failed_when_counting_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge = _Scenario(monkeypatch, fails=10_000)
    judge.prometheus.fails = 0
    verdict = judge()
    assert verdict.outcome == "inconclusive"
    assert "scrapes of pod p2 failed when counting began" in verdict.sentence
    assert judge("b_gauge").outcome == "passed", "which has no beginning"
