"""The vocabulary is a contract: each phrase has a good example, and no text is taken by two phrases."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from pathlib import Path

import meshbdd.steps
import pytest
from behave.matchers import StepParseError, get_step_matcher_factory  # noqa: F401 - makes sure that behave's matchers are loaded
from behave.model import Step, Table
from behave.step_registry import StepRegistry, registry

from meshbdd.errors import BadInput
from meshbdd.intents import Fault, ServiceRef
from meshbdd.methods import instead_of
from meshbdd.options import fault_with_options, read_options
from meshbdd.phrases import Phrase, phrases, problem_of
from meshbdd.report.outcome import sentence_of
from meshbdd.units import Duration
from meshbdd.vocabulary import PLACEHOLDER, step_problem

CONTRACT = [
    "payment-service fails 100%",
    "payment-service.shop fails 2.5%",
    "payment-service fails 100% with status 500",
    "payment-service fails 100% with gRPC status UNAVAILABLE",
    "payment-service is slowed by 250ms",
    "payment-service is slowed by 1m30s for 50% of requests",
    "payment-service is down",
    "payment-service recovers",
    'the manifest "a/b.yaml" is applied',
    'the manifest "a/b.yaml" is removed',
    "calls to inventory-service time out after 500ms",
    "calls to payment-service are retried up to 3 times",
    "payment-service has a circuit breaker that opens after 5 consecutive errors for 3s",
    "payment-service.shop accepts at most 2 concurrent requests",
    "traffic to order-service is split 90% to stable and 10% to canary",
    "traffic to order-service is mirrored to canary",
    "mutual TLS is strict",
    "mutual TLS is permissive",
    "mutual TLS is disabled",
    "mutual TLS is strict for payment-service",
    "mutual TLS is permissive for payment-service",
    "mutual TLS is disabled for payment-service",
    "only order-service may call payment-service",
    'the request "checkout":',
    '"checkout" is sent',
    '"checkout" is sent 100 times',
    '"checkout" is sent 100 times by 5 users',
    '"checkout" is sent at 200/s for 30s',
    'enough "checkout" requests are sent',
    '"checkout" keeps being sent at 50/s',
    "the load stops",
    '"checkout" is sent from outside the mesh',
    "the response status is 503",
    "the response status is 503 or 504",
    'the response field "error" is "payment_unavailable"',
    'the response field "count" of "orders" is unchanged',
    "the response arrives within 3s",
    "the response takes at least 900ms",
    "every response has status 200",
    "at least 95% of requests succeed",
    "more than 95% of requests succeed",
    "at most 5% of requests fail",
    "at least 50% of requests fail",
    "the p50 latency is below 20ms",
    "the p90 latency is below 20ms",
    "the p95 latency is below 20ms",
    "the p99 latency is below 300ms",
    "the p99.9 latency is below 1s",
    'between 5% and 20% of responses have "version" equal to "canary"',
    'about 10% of responses have "version" equal to "canary"',
    "the connection is refused",
    "the request is denied",
    "the request is turned away",
    "every pod of payment-service has a sidecar",
    "calls from order-service to payment-service use mutual TLS",
    "payment-service rejects plaintext",
    "the certificate of payment-service is valid for at least 1h",
    "the certificate of payment-service rotates within 15s",
    "the mesh reports at least 10 requests from order-service to payment-service",
    *(
        f'the query "sum(rate(istio_requests_total{{a="b",c!=\'d\'}}[1m]))" is {relation} 0.5{within}'
        for relation in ("at least", "at most", "exactly")
        for within in ("", " within 30s")
    ),
    "the trace context reaches payment-service",
    "the access log of payment-service has at least 10 requests with status 200",
    "order-service gives up on inventory-service within 3s",
    "order-service calls payment-service at most 6 times per request",
    "client calls payment-service at least 4 times per request",
    "the circuit to payment-service is open",
    "the circuit to payment-service opens within 2s",
    "the circuit to payment-service is half-open within 5s",
    "the circuit to payment-service closes within 5s",
    'a slow inventory-service does not slow "version"',
    "the sidecar adds less than 20ms to the median latency",
    "the sidecar adds less than 50ms to the p99 latency",
    "the sidecar adds less than 2s to the cold start of payment-service",
]

BAD = [
    ("payment-service fails 50", "'50' is not a percentage. Write it like 50%"),
    ("payment-service fails 150%", "150% is not between 0% and 100%"),
    ("payment-service is slowed by 2", "'2' has no unit. Write 2s, 2ms or 2m"),
    ("payment-service is slowed by soon", "'soon' is not a duration"),
    ("payment-service fails 10% with status 999", "'999' is not an HTTP status"),
    ("payment-service fails 10% with gRPC status UNAVAILIBLE", "Write UNAVAILABLE"),
    ("Payment_Service fails 10%", "'Payment_Service' is not the name of a service"),
    ('the query "up" is at least many', "'many' is not a number"),
    ('the query "up" is at least nan', "'nan' is not a number"),
    ("mutual TLS is Strict", "'Strict' is no mode of mutual TLS. Write strict"),
    ("traffic to a is split 90% to Stable_1 and 10% to b", "'Stable_1' is not the name of a subset"),
    ('"checkout" is sent zero times', "'zero' is not a count"),
    ('"checkout" is sent at 200 for 30s', "'200' is not a rate. Write it like 200/s"),
    ('"checkout" is sent at 0/s for 30s', "'0/s' is not a rate"),
    ('"checkout" is sent at 20/s for 30', "'30' has no unit"),
    ('"checkout" keeps being sent at fast', "'fast' is not a rate"),
    ("the p98 latency is below 300ms", "'p98' is not a latency quantile. Write p50, p90, p95, p99 or p99.9"),
    ("the p99 latency is below 300", "'300' has no unit"),
    ('between 5 and 20% of responses have "version" equal to "canary"', "'5' is not a percentage"),
]


def _matches(text: str) -> list[object]:
    assert meshbdd.steps
    return [found for matcher in registry.steps["step"] if (found := matcher.match(text)) is not None]


@pytest.mark.parametrize("text", CONTRACT)
def test_a_phrase_of_the_contract_is_taken_by_one_step(text: str) -> None:
    found = _matches(text)
    assert len(found) == 1
    assert not getattr(found[0], "stored_error", None)


@pytest.mark.parametrize(("text", "words"), BAD)
def test_a_bad_value_is_explained(text: str, words: str) -> None:
    found = _matches(text)
    assert len(found) == 1, "the phrase is found, so the tester does not read «undefined step»"
    assert words in str(found[0].stored_error)  # type: ignore[attr-defined] # behave's MatchWithError


def test_a_bad_value_is_told_as_every_error_is() -> None:
    [found] = _matches("payment-service fails 10% with status 999")
    with pytest.raises(StepParseError) as caught:
        found.run(None)  # type: ignore[attr-defined]
    assert sentence_of(caught.value) == "'999' is not an HTTP status.\nhelp: write a number from 100 to 599"
    assert sentence_of(StepParseError("a project's own words")) == "StepParseError: a project's own words"


@pytest.mark.parametrize("matcher", registry.steps["step"], ids=lambda m: m.pattern)
def test_every_step_says_what_it_means_and_its_example_is_its_own(matcher: object) -> None:
    text = matcher.func.__doc__ or ""  # type: ignore[attr-defined]
    example = re.search(r"Example: (?:Given|When|Then|And) (.+)", text)
    assert example, "no example"
    assert re.search(r"^\s+Evidence: \S.{8,}", text, re.MULTILINE), "it does not say what evidence it leaves"
    found = _matches(example[1].strip())
    assert len(found) == 1
    assert matcher.match(example[1].strip()) is not None  # type: ignore[attr-defined]


TAKES_OPTIONS = re.compile(r'\S+ (fails|is slowed by) |enough "|about |\S+ calls \S+ at most|a slow ')
"""Of the steps that take options, and so no text."""


def _below(text: str, *, table: Table | None = None, body: str | None = None) -> str | None:
    return problem_of(Step("", 0, "Given", "given", text, text=body, table=table))


@pytest.mark.parametrize("phrase", phrases(), ids=lambda p: p.pattern)
def test_a_step_refuses_a_table_and_a_text_that_it_does_not_look_at(phrase: Phrase) -> None:
    text = phrase.example.partition(" ")[2]
    told = _below(text, table=Table(["called by", "order-service"]), body="GET http://a/")
    other = "text" if TAKES_OPTIONS.match(text) else "table"
    assert f"This step takes no {other}" in (told or "")
    assert _below(text, body="GET http://a/" if text.endswith(":") else None) is None


def test_methods() -> None:
    assert instead_of("POST") is None
    assert instead_of("PROPFIND") is None
    assert (instead_of("PSOT"), instead_of("post"), instead_of("DELTE")) == ("write POST", "write POST", "write DELETE")
    assert instead_of("X") == "write one like POST"


def test_an_option_without_a_value() -> None:
    with pytest.raises(BadInput, match=r"The option 'called by' says nothing"):
        read_options(Table(["called by", ""]), ("called by",))


def test_a_near_miss_of_an_option_that_takes_a_name() -> None:
    with pytest.raises(BadInput) as caught:
        read_options(Table(["header", "qa"]), ("method", "header "))
    assert caught.value.help == "did you mean 'header NAME'?"


def test_a_fault_says_its_status_once() -> None:
    service = ServiceRef("a", "b")
    table = Table(["status", "500"])
    assert fault_with_options(table, Fault(service), str).status == 500  # type: ignore[arg-type] # asked of no caller
    assert fault_with_options(None, Fault(service), str).status == 503  # type: ignore[arg-type] # the same
    for fault in (Fault(service, status=503), Fault(service, grpc_status="UNKNOWN"), Fault(service, delay=Duration(1))):
        with pytest.raises(BadInput, match="'status' is no option of this step"):
            fault_with_options(table, fault, str)  # type: ignore[arg-type] # the same


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("payment-service fails 100 %", "{service} fails {percent}"),
        ("the payment-service fails 100%", "{service} fails {percent}"),
        ("payment-service fial 100%", "{service} fails {percent}"),
        ("payment service is down", "{service} is down"),
        ("payment-service is slow by 5s", "{service} is slowed by {duration}"),
        ('I send "charge"', '"{name}" is sent'),
        ('I send "charge" 10 times', '"{name}" is sent {count} times'),
        ('"charge" are sent', '"{name}" is sent'),
        ("the status is 200", "the response status is {status}"),
        ("95% of requests succeed", "at least {percent} of requests succeed"),
        ("the moon is blue", None),
        ("frobnicate", None),
        ("the service explodes", None),
    ],
)
def test_what_may_have_been_meant(text: str, meant: str | None) -> None:
    told = _below(text)
    assert told == (f"no step says this; did you mean «{meant}»?" if meant else "no step says this.")


def test_a_project_that_forgot_the_vocabulary_is_told_so() -> None:
    own = StepRegistry()
    own.add_step_definition("step", "the moon is blue", lambda _context: None)
    told = step_problem(own, Step("a.feature", 1, "Given", "given", "payment-service is down"))
    assert "write import meshbdd.steps into environment.py" in str(told)


def _functions() -> list[tuple[str, ast.FunctionDef]]:
    files = sorted(Path(meshbdd.steps.__file__ or "").parent.glob("*_steps.py"))
    return [
        (f"{file.name}:{node.name}", node)
        for file in files
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]


@pytest.mark.parametrize(("name", "function"), _functions(), ids=[name for name, _ in _functions()])
def test_a_step_holds_no_logic(name: str, function: ast.FunctionDef) -> None:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
    assert lines <= 10, f"{name} has {lines} lines of code: steps call the world, they hold no logic"
    deciding = [node for statement in body for node in ast.walk(statement) if isinstance(node, _DECIDING)]
    assert not deciding, f"{name} holds logic: {ast.unparse(deciding[0])}"


_DECIDING = (ast.For, ast.While, ast.Try, ast.If, ast.IfExp, ast.Compare, ast.BinOp, ast.BoolOp, ast.comprehension)


WORDS = sorted({word.strip('":') for p in phrases() for word in PLACEHOLDER.sub(" ", p.pattern).split()} - {""})
"""Every word that some phrase has of its own: what a placeholder may not mistake for the end of its phrase."""
QUOTED = ("a", "a b", "is sent", 'orders" of "checkout', 'x" is "y', "enough", "checkout' is sent", 'a" equal to "b')
ODD = (
    "payment-service",
    "a.b",
    "100%",
    "5s",
    "3",
    "p99",
    "strict",
    "UNAVAILABLE",
    "200/s",
    "sum(a{b='c'}[1m])",
    "to",
    "for",
    "at",
)


def _texts(pattern: str, draw: random.Random) -> Iterator[str]:
    """Texts that a phrase takes: its placeholders stand for sensible values, for its own and other phrases' words."""
    parts = re.split(r"(\{\w+(?::\w+)?\})", pattern)
    for _ in range(60):
        text = ""
        for part in parts:
            quoted = text.endswith('"')
            choice = draw.choice(QUOTED if quoted and draw.random() < 0.7 else (*ODD, *draw.sample(WORDS, 4)))
            text += choice if part.startswith("{") else part
        yield text


def test_no_two_phrases_take_one_text() -> None:
    draw = random.Random(20)
    matchers = registry.steps["step"]
    seen = 0
    for matcher in matchers:
        own = [text for text in _texts(matcher.pattern, draw) if matcher.match(text) is not None]
        assert own, f"no text was made for {matcher.pattern}"
        seen += len(own)
        for text in own:
            takers = [other.pattern for other in matchers if other.match(text) is not None]
            assert takers == [matcher.pattern], f"«{text}» is taken by {takers}"
    assert seen > 30 * len(matchers)
