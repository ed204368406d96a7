"""Claims about the mesh itself, and the reading of its pages: pure functions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pytest
from hamcrest import assert_that

from meshbdd.claims import Outcome, mesh
from meshbdd.claims.traces import Unlogged, trace_reached
from meshbdd.errors import BadInput, EnvironmentBroken
from meshbdd.intents import ServiceRef
from meshbdd.load import Sample
from meshbdd.telemetry import certificates, metrics
from meshbdd.telemetry.prometheus import Prometheus, selectors
from meshbdd.telemetry.proxies import view
from meshbdd.units import Duration
from tests.verdicts import is_failed, is_inconclusive, is_passed

PAYMENT = ServiceRef("payment-service", "shop")
TRACE = "0123456789abcdef0123456789abcdef"


def sample(status: int | None, error: str | None = None, **headers: str) -> Sample:
    return Sample("r", 0.0, 0.1, status, error, headers)


def pod(*containers: str, ready: bool = True, init: tuple[str, ...] = (), **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "labels": {name.replace("_", "."): value for name, value in labels.items()}},
        "spec": {"containers": [{"name": n} for n in containers], "initContainers": [{"name": n} for n in init]},
        "status": {
            "containerStatuses": [{"name": n, "ready": ready} for n in containers],
            "initContainerStatuses": [{"name": n, "ready": ready} for n in init],
        },
    }


def test_a_pod_without_a_sidecar_is_named_with_the_reason() -> None:
    enabled = {"metadata": {"labels": {"istio-injection": "enabled"}}}
    assert view(pod("app", "istio-proxy"), enabled).meshed
    assert view(pod("app", init=("istio-proxy",)), enabled).meshed, "a native sidecar is an init container"
    assert view(pod("app", "istio-proxy", ready=False), enabled).why == "its sidecar is not ready"
    bare = view(pod("app"), {"metadata": {"labels": {}}})
    assert (bare.meshed, bare.why) == (False, "its namespace has no label istio-injection=enabled")
    assert "older than the injection label" in view(pod("app"), enabled).why
    off = pod("app")
    off["metadata"]["labels"]["sidecar.istio.io/inject"] = "false"
    assert view(off, enabled).why == "its label sidecar.istio.io/inject is false"
    ambient = pod("app")
    ambient["metadata"]["annotations"] = {"ambient.istio.io/redirection": "enabled"}
    assert view(ambient, enabled).why == "it is in ambient mode, where ztunnel stands in a sidecar's place"
    assert_that(mesh.every_pod_has_a_sidecar("x", {}, 0), is_inconclusive())
    assert_that(mesh.every_pod_has_a_sidecar("x", {"p": "why"}, 2), is_failed())


def test_mutual_tls_needs_calls_and_all_of_them() -> None:
    assert_that(mesh.uses_mutual_tls("a", "b", mesh.Security({})), is_inconclusive())
    assert_that(mesh.uses_mutual_tls("a", "b", mesh.Security({"mutual_tls": 5})), is_passed())
    verdict = mesh.uses_mutual_tls("a", "b", mesh.Security({"mutual_tls": 5, "none": 1}))
    assert_that(verdict, is_failed())
    assert "1 × none" in verdict.sentence


def test_certificates() -> None:
    page = {
        "certificates": [
            {"ca_cert": [{"serial_number": "ca"}], "cert_chain": []},
            {
                "cert_chain": [
                    {
                        "serial_number": "1f",
                        "subject_alt_names": [{"uri": "spiffe://cluster.local/ns/shop/sa/x"}],
                        "expiration_time": "2026-03-01T10:00:00Z",
                    }
                ]
            },
        ]
    }
    found = certificates.read("p", page)
    assert (found.serial, found.identities) == ("1f", ("spiffe://cluster.local/ns/shop/sa/x",))
    assert found.expires == dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
    with pytest.raises(EnvironmentBroken, match="has no certificate"):
        certificates.read("p", {"certificates": []})
    assert_that(mesh.certificate_is_valid("x", {"a": 4000, "b": 3599}, Duration(3600)), is_failed())
    assert_that(mesh.certificate_is_valid("x", {"a": 4000, "b": 3601}, Duration(3600)), is_passed())
    assert_that(mesh.certificate_is_valid("x", {}, Duration(1)), is_inconclusive())
    assert "ended" in mesh.certificate_is_valid("x", {"a": -60}, Duration(1)).sentence
    limit = Duration(5)
    assert_that(mesh.certificate_rotated("x", {"a": "1"}, {"a": "2"}, 1, limit), is_passed())
    assert_that(mesh.certificate_rotated("x", {"a": "1", "b": "1"}, {"a": "2", "b": "1"}, 5, limit), is_failed())
    assert_that(mesh.certificate_rotated("x", {"a": "1"}, {}, 1, limit), is_inconclusive())
    assert_that(mesh.certificate_rotated("x", {}, {}, 1, limit), is_inconclusive())


def test_counters_tell_of_one_service_only() -> None:
    labels = (
        'reporter="{reporter}",source_workload="order-service",source_workload_namespace="shop",'
        'destination_service_name="{name}",destination_service_namespace="shop",connection_security_policy="mutual_tls",'
        'response_code="200"'
    )
    page = "# TYPE istio_requests_total counter\n" + "\n".join(
        f"istio_requests_total{{{labels.format(reporter=reporter, name=name)}}} {value}"
        for reporter, name, value in [
            ("destination", "payment-service", 3),
            ("source", "payment-service", 2),
            ("source", "other", 9),
        ]
    )
    counted = metrics.read("p", page + "\n", PAYMENT)
    assert sorted((line.reporter, number) for line, number in counted.items()) == [("destination", 3), ("source", 2)]


def test_reported_requests() -> None:
    def judge(seen: int, sent: bool = True, why_not: str = "", most: int | None = None) -> Outcome:
        most = seen if most is None else most
        return mesh.reports_requests(
            "a", "b", 10, seen, most, sent=sent, reporter="destination", why_not=why_not
        ).outcome

    assert judge(10) is Outcome.PASSED
    assert judge(9) is Outcome.FAILED
    assert judge(0) is Outcome.FAILED, "requests were sent and the mesh tells of none"
    assert judge(0, sent=False) is Outcome.INCONCLUSIVE
    assert judge(9, most=10) is Outcome.INCONCLUSIVE, "the tenth may be another's"
    assert judge(8, most=9) is Outcome.FAILED
    assert judge(10, most=11) is Outcome.PASSED
    assert judge(10, why_not="no sidecar") is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("seen", "unread", "told"), [(0, 3, True), (0, 0, False), (2, 3, False)])
def test_calls_that_were_answered_and_counted_by_nobody_are_told_of(seen: int, unread: int, told: bool) -> None:
    verdict = mesh.reports_requests("a", "b", 5, seen, seen, sent=True, reporter="destination", unread=unread)
    assert verdict.outcome is Outcome.FAILED
    assert ("though 3 calls were answered there" in verdict.sentence) is told


def test_a_trace_arrives_whole_or_fails() -> None:
    ours = f"00-{TRACE}-00f067aa0ba902b7-01"
    other = f"00-{'f' * 32}-00f067aa0ba902b7-01"
    assert_that(trace_reached("x", [TRACE], [ours]), is_passed())
    assert_that(trace_reached("x", [TRACE], [other]), is_failed())
    assert_that(trace_reached("x", [TRACE], [""]), is_failed())
    assert_that(trace_reached("x", [TRACE], [None]), is_inconclusive())
    assert_that(trace_reached("x", [TRACE, "a" * 32], [ours, None]), is_inconclusive("has no field traceparent"))
    assert_that(trace_reached("x", [TRACE], []), is_inconclusive("no proxy of x logged a call"))
    assert_that(trace_reached("x", [], [ours]), is_inconclusive("no request with a trace context was sent before"))
    assert_that(trace_reached("x", [], [ours], loading=True), is_inconclusive("the load that it is about still runs"))
    assert_that(trace_reached("x", [TRACE], [ours], loading=True), is_passed())
    assert_that(trace_reached("x", [TRACE, "a" * 32], [ours]), is_failed())
    others = trace_reached("x", [TRACE], [ours, other])
    assert_that(others, is_passed())
    assert "1 of 1 trace did, in 2 calls; 1 call carried another trace" in others.sentence
    assert_that(trace_reached("x", [TRACE], [ours, other], lost=1), is_failed("1 call for requests of this scenario"))


def test_a_trace_that_came_to_a_pod_without_a_proxy_is_logged_by_nobody() -> None:
    ours, other = f"00-{TRACE}-00f067aa0ba902b7-01", "a" * 32
    half, all_of_it = Unlogged(["x-2"], calls=1), Unlogged(["x-2"], others=False)
    named = "1 call came to no proxy of x, of which pod x-2 has no sidecar"
    assert_that(trace_reached("x", [TRACE, other], [ours], unlogged=half), is_inconclusive(named))
    assert_that(trace_reached("x", [TRACE], [ours], unlogged=half), is_inconclusive(named))
    assert_that(trace_reached("x", [TRACE], [], unlogged=half), is_inconclusive(named))
    assert_that(trace_reached("x", [TRACE], [ours], lost=1, unlogged=half), is_failed())
    unseen = Unlogged(["x-2"])  # perhaps by callers without a proxy, which log nothing either
    assert_that(trace_reached("x", [TRACE], [ours], unlogged=unseen), is_passed())
    assert_that(trace_reached("x", [TRACE, other], [ours], unlogged=unseen), is_inconclusive("pod x-2 of x has no"))
    assert_that(trace_reached("x", [TRACE], [], unlogged=all_of_it), is_inconclusive("no pod of x has a sidecar"))


def test_access_logs() -> None:
    assert_that(mesh.log_has("x", 2, 200, [200, 200, 503]), is_passed())
    assert_that(mesh.log_has("x", 2, 200, [200, 503]), is_failed())
    assert_that(mesh.log_has("x", 2, 200, [], sent=False), is_inconclusive("this scenario sent no request before"))
    assert_that(mesh.log_has("x", 2, 200, []), is_inconclusive("as far as the proxies tell nobody called it"))
    ended = {"ended at their callers' proxies with response flag FI": 5, "were led to other pods": 1}
    assert_that(
        mesh.log_has("x", 2, 200, [], ended=ended), is_failed("no call came to it: 5 ended at their callers' proxies")
    )
    assert_that(
        mesh.log_has("x", 2, 200, [], ended=ended, unread=1), is_inconclusive("by its callers' logs 1 call came")
    )
    assert_that(mesh.log_has("x", 2, 200, [503], ended=ended), is_failed("it has 1 × 503"))
    assert_that(mesh.log_has("x", 1, 200, [200], "no pod of it has a sidecar"), is_inconclusive())


class _Fake:
    """A Prometheus with one series."""

    def __init__(self) -> None:
        self.series = {
            "__name__": "istio_requests_total",
            "destination_service": "payment-service.shop.svc.cluster.local",
            "response_code": "200",
        }

    def __call__(self, path: str, parameters: Mapping[str, str]) -> Any:
        if path.startswith("/api/v1/label/"):
            name = path.split("/")[4]
            return {"data": [self.series[name]] if name in self.series else []}
        query = parameters["query"]
        metric, matchers = selectors(query)[0] if "{" in query else (query.strip("count()"), [])
        there = metric == self.series["__name__"] and all(self.series.get(label) == v for label, _, v in matchers)
        result = [{"metric": self.series, "value": [0, "7"]}] if there else []
        return {"status": "success", "data": {"resultType": "vector", "result": result}}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            'istio_requests_total{destination_service="payment-service"}',
            'the label destination_service="payment-service" matches nothing; the nearest series there is has destination_service="payment-service.shop.svc.cluster.local"',
        ),
        ('istio_request_total{response_code="200"}', "there is no metric istio_request_total; the nearest is istio_requests_total"),
        ('istio_requests_total{destination="x"}', "istio_requests_total has no label destination; did you mean destination_service?"),
    ],
)  # fmt: skip
def test_a_query_that_finds_nothing_says_which_part_misses(query: str, words: str) -> None:
    prometheus = Prometheus(_Fake())
    assert prometheus.query(query) == []
    assert prometheus.why_empty(query) == words
    verdict = mesh.query_is("the query", None, "at most", 5, words)
    assert verdict.outcome is Outcome.INCONCLUSIVE, "nothing is not a small number"


def test_relations() -> None:
    outcomes = {
        (relation, value): mesh.query_is("q", value, relation, 5).outcome
        for relation in ("at least", "at most", "exactly")
        for value in (4.0, 5.0, 6.0)
    }
    passed = {key for key, outcome in outcomes.items() if outcome is Outcome.PASSED}
    assert passed == {("at least", 5.0), ("at least", 6.0), ("at most", 4.0), ("at most", 5.0), ("exactly", 5.0)}


def test_a_refused_query_is_bad_input() -> None:
    with pytest.raises(BadInput, match="does not take the query"):
        Prometheus(lambda _path, _parameters: {"status": "error", "error": "parse error"}).query("sum(")


@pytest.mark.parametrize(
    ("relation", "value", "outcome"),
    [("at least", 3, "failed"), ("at least", 6, "inconclusive"), ("at most", 3, "inconclusive"), ("at most", 6, "failed"),
     ("exactly", 5, "inconclusive"), ("at least", None, "inconclusive")],
)  # fmt: skip
def test_what_holds_without_a_pod_that_is_not_scraped_is_not_known(relation: str, value: float, outcome: str) -> None:
    verdict = mesh.query_is("q", value, relation, 5, unscraped=["payment-1"])
    assert verdict.outcome == outcome
    assert "Prometheus does not scrape payment-1" in verdict.sentence


@pytest.mark.parametrize(
    ("relation", "value", "outcome"),
    [
        ("at least", 6, "passed"),
        ("at least", 3, "failed"),
        ("at most", 3, "inconclusive"),
        ("exactly", 5, "inconclusive"),
    ],
)
def test_more_counters_can_but_raise_a_sum(relation: str, value: float, outcome: str) -> None:
    verdict = mesh.query_is("q", value, relation, 5, unscraped=["payment-1"], only_adds=True)
    assert verdict.outcome == outcome


@pytest.mark.parametrize(
    ("container", "name", "value", "told"),
    [
        ("linkerd-proxy", "LINKERD2_PROXY_IDENTITY_MAX_REFRESH", "6s", Duration(6)),
        ("linkerd-proxy", "LINKERD2_PROXY_IDENTITY_MAX_REFRESH", "1d", None),
        ("linkerd-proxy", "LINKERD2_PROXY_IDENTITY_MIN_REFRESH", "6s", None),
        ("app", "LINKERD2_PROXY_IDENTITY_MAX_REFRESH", "6s", None),
    ],
)
def test_how_soon_linkerds_proxy_renews_stands_in_its_own_environment(
    container: str, name: str, value: str, told: Duration | None
) -> None:
    found = pod("linkerd-proxy", init=("app",))
    for one in (*found["spec"]["containers"], *found["spec"]["initContainers"]):
        one["env"] = [{"name": name, "value": value}] if one["name"] == container else []
    assert certificates.renewed_within(found) == told


def test_calls_that_no_proxy_of_the_callee_counted_are_not_known_to_be_mutual_tls() -> None:
    def judge(**seen: Any) -> Any:
        return mesh.uses_mutual_tls("a", "b", mesh.Security({"mutual_tls": 5}, **seen))

    assert_that(judge(uncounted=5, bare=["b-2"]), is_failed("pod b-2 has no sidecar"))
    assert_that(judge(plain=5, bare_callers=["a-2"]), is_failed("a-2"))
    assert_that(judge(uncounted=5), is_inconclusive("by none of b"))
    assert_that(judge(bare=["b-2"]), is_inconclusive("pod b-2 has no sidecar"))
    assert_that(judge(bare_callers=["a-2"]), is_inconclusive("pod a-2 has no sidecar"))
    assert_that(mesh.uses_mutual_tls("a", "b", mesh.Security({}, uncounted=5, bare=["b-2"])), is_failed("pod b-2"))


def test_calls_that_a_service_answered_and_no_proxy_of_it_counted_are_no_calls_that_nobody_made() -> None:
    opaque = mesh.uses_mutual_tls("a", "b", mesh.Security({}, unread=3))
    assert_that(opaque, is_inconclusive("3 calls of a were answered there, and no proxy of b counted one"))
    assert opaque.help != "send a request that makes one"
    bare = mesh.uses_mutual_tls("a", "b", mesh.Security({}, unread=3, bare=["b-1"]))
    assert_that(bare, is_inconclusive("pod b-1 has no sidecar"))
    answered = mesh.Security({}, unread=3, bare=["b-1"], to_bare={"b-1": 3})
    assert_that(
        mesh.uses_mutual_tls("a", "b", answered), is_failed("3 calls were answered by pods of b without a sidecar: b-1")
    )
    none = mesh.uses_mutual_tls("a", "b", mesh.Security({}, bare=["b-1"]))
    assert (none.outcome, none.help) == (Outcome.INCONCLUSIVE, "send a request that makes one")


def test_requests_that_a_proxy_answered_itself_reached_nobody() -> None:
    page = "# TYPE istio_requests_total counter\n" + "".join(
        f'istio_requests_total{{reporter="source",destination_service_name="payment-service",'
        f'destination_service_namespace="shop",response_flags="{flags}"}} 1\n'
        for flags in ("-", "FI", "UH", "UT", "URX,UF", "DI")
    )
    counted = metrics.read("p", page, PAYMENT)
    assert {line.reached: number for line, number in counted.items()} == {True: 3, False: 3}
