"""What a scenario tells becomes attachments of the steps that told it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import allure_commons
import jsonschema
import pytest
from allure_commons import model2

from meshbdd.claims.comparison import grows_less_than
from meshbdd.evidence import CallsLogged, ChangeArrived, FaultAccounted, QueryAnswered, TrafficSent, VerdictReached
from meshbdd.load.sample import Sample
from meshbdd.report import draw, exchanges, scene, tell
from meshbdd.report.attachments import Attachment
from meshbdd.units import Duration
from tests.report.evidence import REQUEST, Shown, told


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    return Shown(tmp_path / "results", told())


def test_every_kind_of_evidence_is_at_its_step(shown: Shown) -> None:
    change = shown.step(ChangeArrived)
    assert "+ fault: {}" in change["manifest diff: payment-service fails 100%"]
    assert "at the callers' sidecars" in change["manifest diff: payment-service fails 100%"]
    assert "a finding" in change["manifest diff: payment-service fails 100%"]
    assert change["arrived at 2 proxies after 20 ms"].split() == [
        "proxy,holds",
        "it",
        "after",
        "(the",
        "API",
        "has",
        "it),12",
        "ms",
        "client-1,15",
        "ms",
        "order-service-1,20",
        "ms",
    ]
    traffic = shown.step(TrafficSent)
    assert traffic['40 requests "checkout" from client'].count("\n") == 41
    assert shown.step(FaultAccounted)["fault accounting by caller"].splitlines()[1] == "order-service-1,120,120"
    assert "the fault hit 120 of 120 calls" in shown.step(FaultAccounted)["fault accounting"]
    assert shown.step(QueryAnswered)["query sum(x) by (y)"].split() == ["token,y,value", "•••,1,2"]
    assert "FI,aborted by an injected fault,120" in shown.step(CallsLogged)["response flags"]
    verdict = shown.step(VerdictReached)
    assert verdict["verdict"].startswith("failed: at least 95%")
    assert "note: a note" in verdict["verdict"]
    assert {"interval", "timeline", "service graph"} <= set(verdict)
    assert shown.named(shown.test)["reproduce"] == "meshbdd run features/x.feature:3\n"


def test_no_secret_is_in_any_file(shown: Shown) -> None:
    exchanges = [text for name, text in shown.step(TrafficSent).items() if name.startswith('"checkout": ')]
    assert len(exchanges) == 2, "one of each outcome"
    assert json.loads(exchanges[0])["response"]["status"] == 503, "failures first"
    everything = "".join(file.read_text(errors="replace") for file in shown.folder.path.rglob("*") if file.is_file())
    assert "hunter2" not in everything
    assert "1234" not in everything
    assert "hunter2" not in json.dumps(shown.scene.data, default=str), "what run.json takes"


def test_no_secret_goes_to_a_stock_formatter() -> None:
    got: list[str] = []

    class Stock:
        @allure_commons.hookimpl
        def attach_data(self, body: str, name: str) -> None:
            got.append(f"{name}: {body}")

    stock = Stock()
    allure_commons.plugin_manager.register(stock)
    try:
        for event in told():
            tell(event)
    finally:
        allure_commons.plugin_manager.unregister(stock)
    assert any("exact: •••" in text for text in got)
    assert "hunter2" not in "".join(got)


def test_a_red_scenario_is_explained_at_first_sight(shown: Shown, tmp_path: Path) -> None:
    html = shown.test.descriptionHtml
    for words in (
        "payment-service fails 100%",
        "at all 2 proxies after 20 ms",
        "20 × 503, 20 × 200",
        "hit 120 of 120 calls",
        "failed",
        "What it is for.",
    ):
        assert words in html
    assert "data:image/svg+xml;base64," in html
    green = Shown(tmp_path / "green", told(), model2.Status.PASSED)
    assert "data:image" not in green.test.descriptionHtml


def test_the_data_for_machines(shown: Shown) -> None:
    data = json.loads(json.dumps(shown.scene.data, default=str))
    schema = json.loads((Path(__file__).parents[2] / "meshbdd/report/run.schema.json").read_text())
    evidence = schema["$defs"]["scenario"]["properties"]["evidence"]
    jsonschema.validate(data, {**evidence, "$defs": schema["$defs"]})
    assert data["claims"][0]["outcome"] == "failed"
    assert data["faults"][0]["hit"] == 120
    assert data["traffic"] == [
        {"name": "checkout", "from": "client", "to": "order-service", "requests": 40, "succeeded": 20}
    ]
    assert data["changes"][0]["proxies"]["client-1"] == 3.0


def test_without_matplotlib_the_facts_are_there_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "can_draw", lambda: False)
    shown = Shown(tmp_path / "results", told())
    text = shown.step(VerdictReached)["timeline (text)"]
    assert "payment-service fails 100%" in text
    assert "40 requests, 20 succeeded" in text
    assert "pip install 'meshbdd[report]'" in text


def test_what_cannot_be_drawn_costs_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> str:
        raise RuntimeError("no ink")

    monkeypatch.setattr(scene.draw, "draw_timeline", broken)
    shown = Shown(tmp_path / "results", told())
    assert "no ink" in shown.step(VerdictReached)["evidence that could not be shown"]
    assert "interval" in shown.step(VerdictReached)


def test_nothing_is_larger_than_a_mebibyte(tmp_path: Path) -> None:
    big = ChangeArrived("x", "y", ("+" + "x" * 3_000_000,), 0.0, 0.0)
    shown = Shown(
        tmp_path / "results",
        [
            big,
            TrafficSent(
                "q", "c", "h", [Sample(str(i), i, 0.1, 200, body=b"z" * 500_000) for i in range(3000)], REQUEST
            ),
        ],
    )
    assert max(file.stat().st_size for file in shown.folder.path.iterdir()) <= 1024 * 1024
    assert "cut at 1 MiB" in next(iter(shown.step(ChangeArrived).values()))


@pytest.mark.parametrize("mime", ["text/plain", "text/csv", "image/svg+xml", "application/json", exchanges.MIME])
def test_what_is_too_large_stays_valid(mime: str) -> None:
    text = '"é","ü"\n' * 200_000
    assert len(text) > 1024 * 1024
    exact = Attachment("a", "é" * (512 * 1024), mime)
    assert exact.fitting is exact
    shown = Attachment("a", text, mime).fitting
    assert len(shown.text.encode()) <= 1024 * 1024
    if mime.startswith("text/"):
        rows = list(csv.reader(shown.text.splitlines()))
        assert shown.mime == mime
        assert rows[-1] == ["… cut at 1 MiB"]
        assert {tuple(row) for row in rows[:-1]} == {("é", "ü")}, "no half line"
    else:
        assert (shown.mime, shown.extension) == ("text/plain", "txt"), "no half picture and no half JSON"
        assert "left out" in shown.text


def test_the_timeline_shows_when_a_breaker_was_open(tmp_path: Path) -> None:
    phases = [
        {"caller": "order-service-1", "state": state, "began": began, "ended": ended}
        for state, began, ended in (("closed", 1000.0, 1000.1), ("open", 1000.1, 1000.3), ("open", 1000.35, None))
    ]
    verdict = VerdictReached("passed", "the circuit to payment-service is open", {"phases": phases})
    shown = Shown(tmp_path / "results", [*told(), verdict, verdict])
    timeline = next(text for step in shown.steps for name, text in shown.named(step).items() if name == "timeline")
    assert timeline.count("circuit open at order-service-1") == 2, "each opening once"


def test_the_interval_of_a_growth_is_drawn(tmp_path: Path) -> None:
    verdict = grows_less_than("claim", [0.01] * 400, [0.011] * 400, Duration(0.005), what="starts")
    shown = Shown(tmp_path / "results", [VerdictReached("passed", verdict.sentence, verdict.numbers)])
    assert "with which the claim holds" in shown.step(VerdictReached)["interval"]


def test_the_rate_that_was_held_is_shown(tmp_path: Path) -> None:
    sample = Sample("1", 0.0, 0.1, 200)
    sent = TrafficSent("q", "c", "h", [sample], REQUEST, "the rate was not held, for this machine was too busy")
    shown = Shown(tmp_path / "results", [sent, TrafficSent("q", "c", "h", [sample], REQUEST)])
    paced, plain = map(shown.named, shown.steps)
    assert paced['rate of "q"'] == "the rate was not held, for this machine was too busy\n"
    assert 'rate of "q"' not in plain
