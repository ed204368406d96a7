"""The one-file report, opened from disk in a real browser: as a reviewer sees it.

``SCREENSHOTS=folder`` keeps pictures of the pages, in light and in dark.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshbdd.errors import EnvironmentBroken
from meshbdd.report.page import build_page, tools
from tests.browser.chromium import Chromium, found
from tests.report.evidence import Shown, told
from tests.report.toy import ALL, ENDED, OTHERS, Toy, behave_counts, read, statuses

_node = tools.node_version()
pytestmark = [
    pytest.mark.skipif(found() is None, reason="Chromium is not here (Debian: apt-get install chromium)"),
    pytest.mark.skipif(_node is None or _node < tools.LEAST_NODE or shutil.which("npm") is None, reason="Node.js 20.19 with npm is not here"),
    pytest.mark.timeout(300),
]  # fmt: skip

ROW = '[data-testid="test-result-attachment-header"]'


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    browser = Chromium()
    yield browser
    browser.close()


def page(results: Path, output: Path) -> Path:
    try:
        return build_page(results, output).page
    except EnvironmentBroken as error:
        if error.code == "MB0814" and not (tools.cache() / f"allure-{tools.ALLURE_3}").exists():
            pytest.skip(f"Allure could not be fetched: {error}")
        raise


def counts(browser: Chromium) -> Counter[str]:
    """The numbers at the top of the report."""
    text = browser.ask("document.body.innerText")
    words = ("Failed", "Broken", "Passed", "Skipped", "Unknown")
    lines = text.split("New tests")[0].splitlines() + text.split("New tests")[1].split("Metadata")[0].splitlines()
    return Counter(
        {w.lower(): int(lines[i + 1]) for i, w in enumerate(lines[:-1]) if w in words and lines[i + 1].isdigit()}
    )


def categories_of(browser: Chromium) -> Counter[str]:
    """How many scenarios stand in which category, on the page's own tab."""
    browser.ask("document.querySelector('[data-testid=\"nav-tab-categories\"]').click()")
    titles = "[...document.querySelectorAll('[data-testid=\"tree-section-title\"]')]"
    rows = browser.wait(f"{titles}.some(e => e.innerText) && {titles}.map(e => e.parentElement.innerText)", 20)
    return Counter({name: int(number) for name, number in (row.split("\n") for row in rows)})


def shoot(browser: Chromium, name: str) -> None:
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        browser.shot(Path(folder) / f"{name}.png")


@pytest.fixture(scope="module")
def red_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One red scenario that has evidence of every kind."""
    folder = tmp_path_factory.mktemp("red")
    shown = Shown(folder / "results", told())
    shown.test.name, shown.test.steps = "the red one", shown.steps
    shown.test.start = shown.test.stop = 1_000_000
    for step in shown.steps:
        step.status, step.start, step.stop = "passed", 1_000_000, 1_000_000
    shown.steps[4].status = "failed"
    shown.folder.write_item("u-result.json", shown.test)
    return shown.folder.path


@pytest.fixture(scope="module")
def red(red_results: Path) -> Path:
    """Its page."""
    return page(red_results, red_results.parent / "report")


def open_scenario(browser: Chromium, file: Path, name: str, *, dark: bool = False) -> None:
    browser.open(file.as_uri(), dark=dark, size=(1400, 5200))
    browser.wait(
        "document.body && (localStorage.clear(), sessionStorage.clear(), true)"
    )  # what an earlier visit opened
    browser.open(file.as_uri(), dark=dark, size=(1400, 5200))
    leaf = f"[...document.querySelectorAll('*')].find(e => !e.children.length && e.textContent === '{name}')"
    browser.wait(f"document.body && !!{leaf}")
    browser.ask(f"{leaf}.click()")
    browser.wait("!!document.querySelector('[data-testid=\"test-result-steps-root\"]')")


def expand(browser: Chromium) -> int:
    """Open every step and every attachment; gives the number of attachments."""
    closed = "[...document.querySelectorAll('[data-testid=\"test-result-step-header\"]')].filter(e => !e.parentElement.querySelector('[data-testid=\"test-result-step-content\"]'))"
    browser.ask(f"{closed}.forEach(e => e.click())")
    wanted = int(
        browser.ask(
            'document.querySelector(\'[data-testid="test-result-tab-attachments"] [data-testid="counter"]\').textContent'
        )
    )
    browser.wait(f"document.querySelectorAll('{ROW}').length >= {wanted}")
    browser.ask(f"document.querySelectorAll('{ROW}').forEach(e => (e.querySelector('button') || e).click())")
    return wanted


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_kind_of_evidence_is_rendered(browser: Chromium, red: Path, dark: bool) -> None:
    browser.problems.clear()
    open_scenario(browser, red, "the red one", dark=dark)
    frame = "document.querySelector('[data-testid=\"test-result-description-frame\"]').contentDocument"
    browser.wait(f"[...{frame}.images].some(i => i.complete && i.naturalWidth > 300)")
    assert "the fault" not in browser.ask(f"{frame}.body.innerText").lower().split("sent")[0]
    assert "hit 120 of 120 calls" in browser.ask(f"{frame}.body.innerText")
    expand(browser)
    for name in ("interval", "course of the decision", "timeline", "service graph"):
        row = f"[...document.querySelectorAll('{ROW}')].find(e => e.innerText.split('\\n')[1] === '{name}')"
        picture = f"{row}.closest('[data-testid=\"test-result-attachment\"]').querySelector('img')"
        browser.wait(f"!!{row} && !!{picture} && {picture}.naturalWidth > 300 && {picture}.clientWidth > 300", 30)
    text: Any = browser.wait(
        "document.body.innerText.includes('aborted by an injected fault') && document.body.innerText.includes('+ fault: {}')"
        " && document.body.innerText.includes('meshbdd run features/x.feature:3') && document.body.innerText"
    )
    for name in (
        "manifest diff",
        "arrived at 2 proxies",
        "fault accounting",
        "response flags",
        "interval",
        "timeline",
        "service graph",
        "query sum(x) by (y)",
        "reproduce",
    ):
        assert name in text, name
    tables = browser.ask("[...document.querySelectorAll('table')].map(t => t.innerText)")
    assert any("order-service-1" in table and "20 ms" in table for table in tables), "when each proxy had it"
    assert any("120" in table and "hit by the fault" in table for table in tables)
    assert browser.wait("!!document.querySelector('[class*=http-attachment]')"), "exchanges are shown as such"
    assert "hunter2" not in browser.ask("document.documentElement.outerHTML")
    shoot(browser, f"red-{'dark' if dark else 'light'}")
    assert not browser.problems


def test_the_page_asks_the_network_for_nothing(browser: Chromium, red: Path) -> None:
    browser.asked.clear()
    open_scenario(browser, red, "the red one")
    outside = [url[:80] for url in browser.asked if not url.startswith(("file:", "data:", "blob:", "about:"))]
    assert not outside


@pytest.mark.skipif(tools.java_version() is None, reason="Java is not here, which Allure 2 needs")
def test_the_page_of_allure_2_holds_the_same(
    browser: Chromium, red_results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "node_version", lambda: None)
    try:
        built = build_page(red_results, tmp_path / "report")
    except EnvironmentBroken as error:
        if error.code == "MB0812":
            pytest.skip(f"Allure 2 could not be fetched: {error}")
        raise
    assert built.tool == f"Allure {tools.ALLURE_2}"
    browser.asked.clear()
    browser.problems.clear()
    browser.open(f"{built.page.as_uri()}#suites")
    leaf = "document.querySelector('a.node__leaf')"
    browser.wait(f"document.body && !!{leaf} && {leaf}.innerText.includes('the red one')")
    browser.ask(f"{leaf}.click()")
    browser.wait("document.body.innerText.includes('hit 120 of 120 calls')")
    browser.wait("[...document.images].some(i => i.complete && i.naturalWidth > 300)")
    assert "VerdictReached" in browser.ask("document.body.innerText"), "the steps are below"
    assert "hunter2" not in browser.ask("document.documentElement.outerHTML")
    shoot(browser, "red-allure-2")
    assert not [url for url in browser.asked if not url.startswith(("file:", "data:", "blob:", "about:"))]
    assert not browser.problems


@pytest.mark.skipif(tools.java_version() is None, reason="Java is not here, which Allure 2 needs")
def test_the_page_of_allure_2_counts_as_behave_does_and_what_is_outside(
    browser: Chromium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows no problems outside of scenarios: each is a broken case more, in a suite of its own."""
    monkeypatch.setattr(tools, "node_version", lambda: None)
    toy = Toy(tmp_path / "toy", {"a.feature": ALL, **OTHERS})
    said = behave_counts(toy.run("-f", "plain").stdout)
    outside = [error["message"] for told in read(toy.results, "globals") for error in told["errors"]]
    assert outside, "else nothing is tried here"
    more = ("unexpected error: one more", "environment: and another")
    file = next(toy.results.glob("*-globals.json"))
    told = json.loads(file.read_text())
    told["errors"] += [{"message": message, "timestamp": 1} for message in more]
    file.write_text(json.dumps(told))
    number = len(outside) + len(more)
    browser.open(f"{page(toy.results, tmp_path / 'report').as_uri()}#suites")
    text = browser.wait(
        "document.body && document.body.innerText.includes('outside of any scenario') && document.body.innerText"
    )
    failed, broken, passed, skipped, unknown = map(int, text.split("Status:")[1].split("Marks")[0].split())
    assert (failed, passed, skipped, unknown) == (said["failed"], said["passed"], said["skipped"], 0)
    behind_hooks = 2
    assert said["untested"] == behind_hooks
    assert broken == said["error"] + said["hook_error"] + said["cleanup_error"] + behind_hooks + number
    browser.open(f"{page(toy.results, tmp_path / 'report').as_uri()}#categories")
    text = browser.wait("document.body && document.body.innerText.includes('Inconclusive') && document.body.innerText")
    assert "Test defects" not in text, "Allure 2's own word for what is in none of our categories"


@pytest.mark.parametrize("kind", ["all", "SIGINT", "SIGTERM", "no-parse"])
def test_the_page_counts_as_behave_does(browser: Chromium, tmp_path: Path, kind: str) -> None:
    unread = "Feature: B\n  Scenario: x\n    Given it passes\n    Thn it asserts\n"
    features = {"all": {"a.feature": ALL, **OTHERS}, "no-parse": {"a.feature": ENDED, "bad.feature": unread}}
    toy = Toy(tmp_path / "toy", features.get(kind, {"a.feature": ENDED}))
    ended = kind.startswith("SIG")
    done = toy.interrupted(signal.Signals[kind], "-f", "plain") if ended else toy.run("-f", "plain")
    file = page(toy.results, tmp_path / "report")
    browser.open(file.as_uri())
    browser.wait("document.body && document.body.innerText.includes('Powered by')")
    if kind == "no-parse":
        browser.wait("/Global Errors\\s*1/.test(document.body.innerText)")
        text = browser.ask("document.body.innerText")
        assert "scenario" not in done.stdout, "behave ran none"
        assert (re.findall(r"Total\s+(\d+)", text), re.findall(r"Results (\d+)", text)) == (["0", "0"], ["0"])
        assert not [word for word in ("Failed", "Broken", "Passed", "Unknown") if word in text]
        return
    browser.wait("document.body.innerText.includes('New tests')")
    shown, said = counts(browser), behave_counts(done.stdout)
    assert shown == statuses(toy.results)
    assert shown.total() == said.total()
    assert (shown["passed"], shown["failed"], shown["skipped"]) == (said["passed"], said["failed"], said["skipped"])
    behind_hooks = 2 if kind == "all" else 0  # one behind a feature's, one behind a rule's; behave calls them untested
    assert shown["unknown"] == said["untested"] - behind_hooks
    assert shown["broken"] == said["error"] + said["hook_error"] + said["cleanup_error"] + behind_hooks
    assert ended == (shown["unknown"] > 0), "the run was ended before some"
    in_categories = categories_of(browser)
    assert in_categories["Inconclusive"] == done.stdout.count("Then nobody can tell ...") == 1
    assert in_categories["Product defect"] == said["failed"]
    assert in_categories.total() == shown["failed"] + shown["broken"], "each is in one"
    shoot(browser, f"home-{kind}")
