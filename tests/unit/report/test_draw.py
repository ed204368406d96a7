"""Plots hold what they should, for usual and for odd input, and nothing that a report's frame would not show."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET

import pytest

from meshbdd.claims.comparison import grows_less_than
from meshbdd.claims.shares import succeed_at_least
from meshbdd.evidence import Call
from meshbdd.load.sample import Sample
from meshbdd.report import draw
from meshbdd.report.draw.graph import Edge, columns_of, edges_of
from meshbdd.report.draw.timeline import Span, _latencies, _marks, duration
from meshbdd.units import Duration, Percent

pytest.importorskip("matplotlib")


def samples(count: int, fail_every: int = 0, seconds: float = 0.01) -> list[Sample]:
    return [
        Sample(str(i), 1000 + i * 0.01, seconds * (1 + i % 7), 503 if fail_every and i % fail_every == 0 else 200)
        for i in range(count)
    ]


def words(svg: str) -> str:
    return " ".join(text for text in ET.fromstring(svg).itertext() if text.strip())


def see(svg: str, largest: int = 40_000) -> str:
    """A static picture: parses, is small, has its own background, runs and fetches nothing."""
    root = ET.fromstring(svg)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not tags & {"script", "image", "foreignObject", "a", "animate"}
    assert "fill: #ffffff" in svg
    assert "nan" not in svg
    assert not [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href") and not v.startswith("#")]
    assert len(svg.encode()) < largest
    return words(svg)


def test_the_timeline_tells_outcomes_faults_and_load() -> None:
    spans = [Span("payment-service fails 100%", 1000.2, 1000.6), Span('100 × "checkout"', 1000, 1001, "load")]
    told = see(draw.draw_timeline(samples(100, fail_every=4), spans))
    for expected in (
        "75 succeeded",
        "25 failed: 25 × 503",
        "payment-service fails 100%",
        '100 × "checkout"',
        "p95",
        "latency",
    ):
        assert expected in told


@pytest.mark.parametrize(
    "odd",
    [
        samples(1),
        samples(3, seconds=0.0),
        samples(2, seconds=30.0),
        [Sample("1", 1000.0, 0.02, None, "reset")],
        samples(50_000, fail_every=3),
    ],
)
def test_odd_traffic_is_drawn_too(odd: list[Sample]) -> None:
    told = see(draw.draw_timeline(odd, []), largest=60_000)
    good = sum(sample.succeeded for sample in odd)
    assert f"{good:,} succeeded" in told, "what is too much to draw is counted all the same"


@pytest.mark.parametrize(("count", "shown"), [(1, False), (4, False), (5, True)])
def test_quantiles_of_a_handful_of_requests_are_not_shown(count: int, shown: bool) -> None:
    assert ("p95" in see(draw.draw_timeline(samples(count), []))) is shown


@pytest.mark.parametrize(
    "latencies",
    [[0.3] * 108 + [0.01] * 22, [0.004] * 120 + [0.3] * 10, [0.02] * 130, [0.001 * i for i in range(1, 100)]],
    ids=["mostly slow", "mostly fast", "all alike", "evenly"],
)
def test_the_words_of_the_quantiles_do_not_lie_on_the_curve(latencies: list[float]) -> None:
    svg = draw.draw_timeline([Sample(str(i), 1000 + i / 20, s, 200) for i, s in enumerate(latencies)], [])
    root = ET.fromstring(svg)
    texts = [e for e in root.iter() if (e.text or "").startswith(("p50 ", "p95 ", "p99 ", "max "))]
    places = [(float(e.attrib["x"]), float(e.attrib["y"])) for e in texts]
    boxes = [(x, y - 9, x + 60, y + 2) for x, y in places]
    assert len(boxes) == 4
    (curve,) = [e.attrib["d"] for e in root.iter() if "stroke: #3b6fb6" in e.attrib.get("style", "")]
    points = [tuple(map(float, point.split())) for point in curve[1:].split("L")]
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        between = [(x1 + (x2 - x1) * i / 50, y1 + (y2 - y1) * i / 50) for i in range(51)]
        assert not [(x, y) for x, y in between for a, b, c, d in boxes if a < x < c and b < y < d]


@pytest.mark.parametrize("seconds", [0.0001, 0.0301, 0.3478, 7.0])
def test_the_scale_of_latencies_has_two_marks_at_least(seconds: float) -> None:
    marks, labels = _marks(_latencies([seconds]))
    assert len(set(labels)) == len(marks) >= 2


def test_long_and_strange_words_do_not_break_a_picture() -> None:
    see(draw.draw_timeline(samples(5), [Span("<b>&\"' $x_1$ 網格 " + "long " * 100, 1000, 1001)]))


@pytest.mark.parametrize(("hits", "outcome"), [(0, "failed"), (88, "failed"), (100, "passed")])
def test_an_interval_of_a_literal_count(hits: int, outcome: str) -> None:
    all_samples = [Sample(str(i), 0.0, 0.01, 200 if i < hits else 503) for i in range(100)]
    verdict = succeed_at_least(Percent(95)).judge(all_samples)
    assert str(verdict.outcome) == outcome
    told = see(draw.draw_interval(outcome, verdict.numbers))
    assert f"{hits} of 100 = {hits:.2f}%" in told
    assert "shares with which the claim holds" in told


@pytest.mark.parametrize(
    ("after", "outcome", "words_of_it"),
    [
        ([0.011] * 400, "passed", "● p50 grew by +1 ms; thick bar: where the growth lies, +1 ms to +1 ms"),
        ([0.030] * 400, "failed", "● p50 grew by +20 ms"),
        ([0.011] * 3, "inconclusive", "no bound"),
    ],
)
def test_the_interval_of_a_growth(after: list[float], outcome: str, words_of_it: str) -> None:
    verdict = grows_less_than("claim", [0.010] * len(after), after, Duration(0.005), what="requests")
    assert str(verdict.outcome) == outcome
    told = see(draw.draw_growth(outcome, verdict.numbers))
    assert words_of_it in told
    assert "green: less than +5 ms, with which the claim holds" in told


def test_the_course_of_a_decision() -> None:
    verdict = succeed_at_least(Percent(95)).judge_enough(samples(3000, fail_every=50))
    assert verdict is not None
    told = see(draw.draw_decision(str(verdict.outcome), verdict.numbers))
    assert f"passed after {verdict.numbers['requests']:,} requests" in told


def test_the_graph_marks_failures_and_the_faulted_edge() -> None:
    calls = [
        Call("client", "order-service", 200, (), False, 30),
        Call("client", "order-service", 503, (), False, 30),
        Call("order-service", "payment-service", 503, ("FI",), True, 180),
        Call("order-service", "inventory-service", 200, (), False, 60),
    ]
    edges = edges_of(calls)
    assert edges[0] == Edge("client", "order-service", 60, 30, 0)
    assert [edge.faulted for edge in edges] == [False, False, True]
    told = see(draw.draw_graph(edges))
    for expected in ("60 calls, 30 failed", "180 calls, 180 failed", "fault in 180", "inventory-service"):
        assert expected in told


def test_the_workloads_of_a_service_are_one_node() -> None:
    calls = [
        Call("client", "order-service", 503, (), False, 60),
        *(Call(w, "payment-service", 503, ("UH",), False, 90, "order-service") for w in ("order-service", "order-service-canary")),
        Call("order-service", "payment-service", 503, (), True, 5, "order-service"),
    ]  # fmt: skip
    edges = edges_of(calls)
    assert columns_of(edges) == [["client"], ["order-service"], ["payment-service"]]
    assert edges[1].told == ["185 calls, 185 failed", "fault in 5, UH in 180"]


def test_a_service_that_is_down_has_a_faulted_edge() -> None:
    calls = [
        Call("order-service", "payment-service", 503, ("UF", "URX"), False, 6, "order-service"),
        Call("order-service", "inventory-service", 503, (), False, 6, "order-service"),
    ]
    faulted = {edge.service: edge.told for edge in edges_of(calls, {"payment-service"}) if edge.faulted}
    assert faulted == {"payment-service": ["6 calls, 6 failed", "fault here, UF in 6, URX in 6"]}


def test_no_words_of_a_graph_lie_on_others() -> None:
    """The worst of a real run: two callers, each of whom calls the same three services."""
    pairs = [
        (a, b) for a in ("order-service", "billing-service") for b in ("payment-service", "inventory-service", "mail")
    ]
    edges = [Edge("client", a, 60, 30, 0) for a in ("order-service", "billing-service")]
    edges += [Edge(a, b, 183, 183, 35, True, (("UH", 148),)) for a, b in pairs]
    boxes = []
    for element in ET.fromstring(draw.draw_graph(edges)).iter("{http://www.w3.org/2000/svg}text"):
        x, y = float(element.attrib["x"]), float(element.attrib["y"])
        wide = len(element.text or "") * 4.2
        boxes.append((element.text, x - wide / 2, y - 7, x + wide / 2, y))
    labels = [box for box in boxes if "calls," in str(box[0]) or "fault in" in str(box[0])]
    assert len(labels) == 2 * len(pairs) + 2
    for one, other in itertools.combinations(labels, 2):
        apart = one[3] <= other[1] or other[3] <= one[1] or one[4] <= other[2] or other[4] <= one[2]
        assert apart, (one, other)


def test_columns_of_a_graph_hold_every_service_once_loops_too() -> None:
    for pairs in itertools.product([("a", "b"), ("b", "c"), ("c", "a"), ("d", "a"), ("a", "a"), ("e", "f")], repeat=3):
        edges = [Edge(*pair, 1, 0, 0) for pair in dict.fromkeys(pairs)]
        placed = [name for column in columns_of(edges) for name in column]
        assert sorted(placed) == sorted({name for edge in edges for name in (edge.caller, edge.service)})
    see(draw.draw_graph(edges))


def test_durations_as_a_reader_says_them() -> None:
    assert [duration(x) for x in (0.0001, 0.0025, 0.25, 0.9999, 1.5, 30)] == [
        "0.1 ms",
        "2.5 ms",
        "250 ms",
        "1 s",
        "1.5 s",
        "30 s",
    ]
