"""What a query counts, and since when: PromQL as far as it takes to see that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.claims import Verdict
from meshbdd.cluster.failures import ApiFailure
from meshbdd.errors import BadInput, Inconclusive
from meshbdd.scenario.asides import mixed
from meshbdd.scenario.last_change import none_met
from meshbdd.scenario.queries import Queries, _out_of_reach
from meshbdd.sidecars import ISTIO
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.metrics import may_have
from meshbdd.telemetry.prometheus import Prometheus, Row, ended_of, through_api
from meshbdd.telemetry.promql import parse


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("sum(a_total)", [("a_total", None, 0, ("sum",))]),
        ("""sum(a_total{b="}(", c='[1m]'}[1m30s])""", [("a_total", 90, 0, ("sum",))]),
        ("sum by (le, a_total) (rate(x_bucket[5m] offset 1m))", [("x_bucket", 300, 60, ("sum", "rate"))]),
        ("sum(rate(x_total[5m])) by (le)", [("x_total", 300, 0, ("sum", "rate"))]),
        ("a_total / on (x) group_left (y) b_total", [("a_total", None, 0, ()), ("b_total", None, 0, ())]),
        ("a and b unless c or vector(0)", [("a", None, 0, ()), ("b", None, 0, ()), ("c", None, 0, ())]),
        ('{__name__="a_total", x="y"}', [("a_total", None, 0, ())]),
        ('{__name__=~"a_.*"}', [("", None, 0, ())]),
        ("up # a_total", [("up", None, 0, ())]),
        ("a_total offset -1m", [("a_total", None, 0, ())]),
        ("a_total @ 17", [("a_total", None, math.inf, ())]),
        ("1 + 2e3 > bool 0x1f", []),
    ],
)
def test_the_selectors_of_a_query(text: str, selected: list[tuple[str, float | None, float, tuple[str, ...]]]) -> None:
    assert [(s.metric, s.window, s.back, s.functions) for s in parse(text).selectors] == selected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("a_total", 0),
        ("rate(a_total[10s])", 10),
        ("rate(a_total[10s] offset 5s)", 15),
        ("max_over_time(sum(rate(a_total[10s]))[30s:5s] offset 1m)", 100),
        ("rate(a_total[1h30m] @ 5)", math.inf),
        ("rate(a_total[2 * 5m])", math.inf),
    ],
)
def test_how_far_a_query_looks_back(text: str, seconds: float) -> None:
    assert parse(text).reach == seconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "sum(", "sum(a))", 'a{b="c}', "a{b='c'", "a[5m", "a]", "sum(a}", "# a", "a[1x]", "a[soon]", "a[5m:1q]"],
)
def test_what_is_not_closed_is_no_query(text: str) -> None:
    with pytest.raises(BadInput, match="is no PromQL"):
        parse(text)


def test_selectors_are_replaced_where_they_stand() -> None:
    query = parse('a_total{x="a_total"} + sum(a_total) + rate(a_total[1m])')
    others = [(s, f"<{query.source(s)}>") for s in query.selectors if s.window is None]
    assert query.replaced(others) == '<a_total{x="a_total"}> + sum(<a_total>) + rate(a_total[1m])'


@pytest.mark.parametrize(
    ("text", "age", "words"),
    [
        ("sum(a_total)", 1, None),
        ("sum(rate(a_total[10s]))", 11, None),
        ("max_over_time(gauge[10s])", 11, None),
        ("sum(rate(a_total[10s]))", 9, "it looks back 10 s, and the scenario began 9.0 s ago"),
        ("max_over_time(gauge[10s])", 9, "it looks back 10 s"),
        ("gauge offset 1m", 9, "it looks back 60 s"),
        ("gauge @ 5", 9, "it looks back to another time"),
        ("a_total - a_total offset 1s", 9, "looked at in the past"),
        ("max_over_time(a_total[1s])", 9, "tells of the counter's whole life"),
        ("max_over_time(sum(a_total)[1s:1s])", 9, "looked at in the past"),
        ('sum({__name__=~"a_.*"})', 9, "nobody knows whether"),
    ],
)
def test_what_reaches_beyond_the_scenario_is_not_judged(text: str, age: float, words: str | None) -> None:
    why = _out_of_reach(parse(text), {"a_total"}, age)
    assert (why is None) if words is None else (why is not None and words in why[0])


@pytest.mark.parametrize(
    ("text", "adds"),
    [
        ('sum(a_total{b="c"})', True),
        (" sum ( a_total ) ", True),
        ("sum(a_total) - sum(b_total)", False),
        ("sum(a_total) * 0.5", False),
        ("1 / sum(a_total)", False),
        ("sum(rate(a_total[1m]))", False),
        ("avg(a_total)", False),
        ("sum by (b) (a_total)", False),
        ("sum(a_total) or vector(0)", False),
    ],
)
def test_whether_one_more_series_could_but_raise_the_number(text: str, *, adds: bool) -> None:
    assert parse(text).only_adds is adds


PAGE = """
# TYPE istio_requests_total counter
istio_requests_total{reporter="source",destination_service_name="payment-service",response_code="200"} 7
# TYPE istio_request_duration_milliseconds histogram
istio_request_duration_milliseconds_bucket{reporter="source",destination_service_name="payment-service",le="+Inf"} 7
istio_request_duration_milliseconds_sum{reporter="source",destination_service_name="payment-service"} 12
istio_request_duration_milliseconds_count{reporter="source",destination_service_name="payment-service"} 7
"""


@pytest.mark.parametrize(
    ("selector", "may"),
    [
        ("istio_requests_total", True),
        ('istio_requests_total{destination_service_name="payment-service"}', True),
        ('istio_requests_total{destination_service_name="order-service"}', False),
        ('istio_requests_total{destination_service_name!="order-service"}', True),
        ('istio_requests_total{destination_service_name=~"pay.*"}', True),
        ('istio_requests_total{destination_service_name=~"pay"}', False),  # it is the whole value that has to match
        ('istio_requests_total{destination_service_name!~"pay.*"}', False),
        ('istio_requests_total{response_code="200",reporter="destination"}', False),
        ('istio_requests_total{pod="order-1"}', True),  # a label of the target's, which only Prometheus knows
        ('istio_requests_total{response_code=~"(?P<"}', True),
        ('istio_request_duration_milliseconds_bucket{destination_service_name="payment-service"}', True),
        ('istio_request_duration_milliseconds_bucket{le="5"}', False),
        ("istio_request", False),
        ("istio_response_bytes_sum", False),
        ('{response_code="500"}', True),  # of whatever name
    ],
)
def test_whether_a_page_may_have_what_a_selector_means(selector: str, *, may: bool) -> None:
    assert may_have(PAGE, selector) is may


COUNTS = 'the query "sum(a_total)" is at least 1'


@pytest.mark.parametrize(
    ("steps", "where"),
    [
        (["the response status is 200", COUNTS], None),
        ([COUNTS, 'a slow a does not slow "b"'], None),
        (['a slow a does not slow "b"', COUNTS], 1),
        (["the sidecar adds less than 5ms to the median latency", "x", f"{COUNTS} within 5s"], 2),
        (["the sidecar adds less than 5ms to the p99 latency", COUNTS], 1),
        (["the sidecar adds less than 2s to the cold start of a", COUNTS], None),
        (['the response field "n" of "orders" is unchanged', COUNTS], 1),
        (["a rejects plaintext", COUNTS], 1),
        (["a rejects plaintext", 'the query "up" is at least 1', COUNTS], 2),
        (["a rejects plaintext", 'the query "histogram_quantile(0.5, x_bucket)" is at most 1'], 1),
        (["a rejects plaintext", 'the query "sum(" is at most 1'], None),
    ],
)
def test_a_query_would_count_what_a_claim_before_it_sends_for_itself(steps: list[str], where: int | None) -> None:
    found = mixed(steps)
    assert (found and found[0]) == where
    if found:
        assert found[1].help == "state the query before that claim"


class _Prometheus:
    """Counts time, and has a counter that says 7."""

    def __init__(self, idle: int = 0) -> None:
        self.now = 0.0
        self.idle = idle

    def __call__(self, path: str, parameters: Mapping[str, str]) -> Any:
        if path.endswith("metadata"):
            return {"data": {}}
        self.now += 1.0
        query = parameters["query"]
        pods = [{"metric": {"instance": "127.1.0.1:15020"}, "value": [0, str(self.now)]}]
        zero = "unless" in query or "resets" in query
        result = pods if "timestamp" in query else [] if zero else [{"metric": {}, "value": [0, "7"]}]
        if " == " in query:
            result = [{"metric": {}, "value": [0, str(self.idle)]}] if self.idle else []
        if query == "time()":
            return {"status": "success", "data": {"resultType": "scalar", "result": [0, str(self.now)]}}
        return {"status": "success", "data": {"resultType": "vector", "result": result}}


def _queries(monkeypatch: pytest.MonkeyPatch, traffic: Any, logged: Sequence[Entry] = (), idle: int = 0) -> Queries:
    monkeypatch.setattr("meshbdd.scenario.queries.over_http", lambda _url: _Prometheus(idle))
    environment = SimpleNamespace(
        settings=SimpleNamespace(prometheus="http://p"),
        target="lab",
        wait_still=lambda: None,
        tell=lambda _event: None,
        sent=SimpleNamespace(are_earlier=lambda request_id: request_id == "late"),
    )
    pod = {"metadata": {"name": "p"}, "status": {"podIP": "127.1.0.1"}}
    proxies = SimpleNamespace(sidecars=ISTIO, every=lambda: [pod])
    log = SimpleNamespace(proxies=proxies, everything=lambda: list(logged))
    return Queries(cast("Any", environment), traffic, cast("Any", log), [COUNTS])


def _traffic(change: str = "") -> Any:
    return SimpleNamespace(
        own=SimpleNamespace(ids=set()),
        samples=[],
        has_sent=False,
        wait_met=lambda: None,
        met=lambda verdict, _ids=(): none_met(verdict, change),
    )


def test_what_was_counted_before_a_change_proves_nothing_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    queries = _queries(monkeypatch, _traffic("payment-service fails 100%"))
    verdict = queries.judge("the claim", "sum(a_total)", "at least", 7, None)
    assert verdict.outcome == "inconclusive"
    assert "since the mesh was changed («payment-service fails 100%»)" in verdict.sentence
    assert queries.judge("the claim", "gauge", "at least", 7, None).outcome == "passed", "it is as it is"


@pytest.mark.parametrize(
    ("promql", "idle", "outcome"),
    [
        ("avg(a_total)", 3, "inconclusive"),
        ("AVG BY (pod) (a_total)", 3, "inconclusive"),
        ("avg(a_total)", 0, "passed"),
        ("min by (pod) (sum by (pod, code) (a_total))", 1, "inconclusive"),
        ("quantile(0.5, rate(a_total[1s]))", 1, "inconclusive"),
        ("sum(a_total)", 3, "passed"),
        ("max(a_total)", 3, "passed"),
    ],
)
def test_a_series_that_did_not_grow_weighs_in_no_average(
    monkeypatch: pytest.MonkeyPatch, promql: str, idle: int, outcome: str
) -> None:
    verdict = _queries(monkeypatch, _traffic(), idle=idle).judge("the claim", promql, "at least", 7, None)
    assert verdict.outcome == outcome
    assert ("did not grow in this scenario" in verdict.sentence) == (outcome == "inconclusive")


def test_requests_that_a_claim_sent_for_itself_make_a_count_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = _traffic()
    queries = _queries(monkeypatch, traffic)

    def judge(promql: str = "sum(a_total)") -> Verdict:
        return queries.judge("the claim", promql, "at least", 7, None)

    assert judge().outcome == "passed"
    traffic.own.ids.add("r1")
    assert "have sent 1 request for themselves" in judge().sentence
    assert judge().outcome == "inconclusive"
    assert judge("gauge").outcome == "passed"
    traffic.has_sent = True
    queries.begin_anew()
    assert judge().outcome == "inconclusive", "what the scenario has sent must not be forgotten"
    traffic.has_sent = False
    queries.begin_anew()
    assert judge().outcome == "passed"


def test_prometheus_own_grammar_is_asked_before_anything_else() -> None:
    answers = {"1 +": {"status": "error", "errorType": "bad_data", "error": "unexpected end of input"}}
    prometheus = Prometheus(lambda _path, parameters: answers.get(parameters["query"], {"status": "success"}))
    prometheus.see_taken("1 + 1")
    with pytest.raises(BadInput, match="unexpected end of input"):
        prometheus.see_taken("1 +")


def test_one_that_does_not_know_the_question_is_believed_to_take_the_query() -> None:
    Prometheus(lambda _path, _parameters: "404 page not found").see_taken("1 +")


class _Api:
    """An API server that passes an answer on, as an HTTP error."""

    def __init__(self, told: Any) -> None:
        self._told = told

    def request(self, *_args: Any, **_more: Any) -> bytes:
        raise ApiFailure(400, "", "The API refused it.", self._told)


def test_behind_the_apis_proxy_prometheus_own_words_are_heard() -> None:
    told = {"status": "error", "errorType": "bad_data", "error": "unexpected end of input"}
    with pytest.raises(BadInput, match="unexpected end of input"):
        Prometheus(through_api(cast("Any", _Api(told)))).query("1 +")
    with pytest.raises(Inconclusive, match="There is no Prometheus to ask"):
        Prometheus(through_api(cast("Any", _Api({"kind": "Status", "status": "Failure"})))).query("1 +")


def test_calls_of_an_earlier_scenario_that_end_in_this_one_make_a_count_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def call(request_id: str, ended: float) -> Entry:
        return Entry("p", False, "", "", 200, frozenset(), request_id, started=ended - 2.0, seconds=2.0)

    logged = [call("ours", 100.0), call("late", -100.0)]
    queries = _queries(monkeypatch, _traffic(), logged)

    def judge(promql: str = "sum(a_total)") -> Verdict:
        return queries.judge("the claim", promql, "at least", 7, None)

    assert judge().outcome == "passed", "it ended long before counting began"
    logged.append(call("late", 100.0))
    assert "1 call of an earlier scenario ended only in this one" in judge().sentence
    assert judge().outcome == "inconclusive"
    assert judge("gauge").outcome == "passed"


@pytest.mark.parametrize(
    ("instance", "scraped", "ended"),
    [
        ("10.0.0.1:15020", {"10.0.0.1", "10.0.0.9"}, 2),
        ("10.0.0.9:15020", {"10.0.0.1", "10.0.0.9"}, 0),  # a pod that was gone when the scenario began
        ("payment:15020", {"payment", "order"}, 2),  # targets by other names: who knows which pod it was
        ("", {"10.0.0.1"}, 2),  # a metric that was summed up before
    ],
)
def test_what_ended_counts_where_its_pod_was_there(instance: str, scraped: set[str], ended: int) -> None:
    rows = [Row({"instance": instance} if instance else {}, 2.0)]
    assert ended_of(rows, {"10.0.0.1", "10.0.0.2"}, scraped) == ended
