"""``meshbdd load``: the load engine on the command line."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import click

from meshbdd.cli.load_plan import DEFAULT_SECONDS, DEFAULT_USERS, REDIRECTS, read_plan
from meshbdd.cli.output import complain, write
from meshbdd.errors import BadInput, MeshbddError

if TYPE_CHECKING:  # imported by the command itself, so that --help is quick
    from meshbdd.load import Progress, Result
    from meshbdd.load.expectation import Expectation
    from meshbdd.load.workers import Workers

_TRIES = 100_000
"""Failures to look through for why nothing is answered; whoever has seen so many knows no more after others."""

_MET = {True: "met    ", False: "NOT MET", None: "OPEN   "}


@click.command()
@click.argument("target", metavar="URL|FILE.http", required=False)
@click.option("--users", type=int, help=f"Send from so many users at a time; {DEFAULT_USERS} if nothing is said.")
@click.option("--rate", metavar="RATE", help="Start so many requests a second (200/s), whatever becomes of them.")
@click.option("--ramp", metavar="DURATION", help="Raise the rate from zero for so long.")
@click.option("--poisson", is_flag=True, help="Independent arrivals at that rate instead of equal distances.")
@click.option("--duration", metavar="DURATION", help=f"For how long; {DEFAULT_SECONDS:g}s if nothing is said.")
@click.option("--count", type=int, help="How many requests.")
@click.option("--fresh", is_flag=True, help="A new connection for each request.")
@click.option("--timeout", metavar="DURATION", default="30s", show_default=True, help="For one request in all.")
@click.option("--via", metavar="SERVICE", help="Enter the running lab at the sidecar of that service.")
@click.option("--lab", metavar="NAME", help="The lab for --via; the one of the settings if left out.")
@click.option("--workers", type=int, default=1, show_default=True, help="Processes that send; one core each.")
@click.option("--expect", metavar="TERMS", help='Exit with 1 unless so: "p99 < 300ms, errors < 1%, rate > 100/s".')
@click.option("--no-follow", is_flag=True, help=f"Take a redirect for the answer; else up to {REDIRECTS} are followed.")
@click.option("--http2", is_flag=True, help="HTTP/2, without asking first where there is no TLS.")
@click.option("--insecure", is_flag=True, help="Accept any certificate.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; its schema: --schema.")
@click.option("--schema", "show_schema", is_flag=True, help="Print the JSON schema of --json, and send nothing.")
def load(
    target: str | None, as_json: bool, show_schema: bool, expect: str | None, workers: int, **options: Any
) -> None:
    """Send a request again and again, and tell what became of it.

    A file holds one request as an HTTP message: request line, headers, a blank line, the body.

    Exit code: 0 done, 1 an expectation was not met, 2 the input is wrong or no request could be answered, 4 the lab or
    this machine is broken, 130 interrupted. Where all that is expected is met, "errors > 99%" for one, that no request
    could be answered is no error. What can get better is waited for where a rate, a duration or a count is given.
    What was sent until then is told in any case.
    """
    from meshbdd.load.document import schema  # noqa: PLC0415 - not needed for --help
    from meshbdd.load.expectation import read_expectations  # noqa: PLC0415 - as above
    from meshbdd.load.workers import Workers  # noqa: PLC0415 - as above

    if show_schema:
        write(json.dumps(schema(), indent=2))
        return
    expectations = read_expectations(expect) if expect is not None else []
    if workers < 1:
        raise BadInput("MB0252", f"{workers} processes send nothing.", help="use at least one: --workers 1")
    plan = read_plan(target, **options)
    with _interruptible(), Workers.start(plan, workers) as running:
        waits = any(options[name] is not None for name in ("rate", "duration", "count"))
        outcome = _send(running, gives_up=None if expectations else "for ever" if waits else "at all")
    sys.exit(_tell(outcome, workers, expectations, as_json=as_json))


@dataclass(frozen=True, slots=True)
class _Outcome:
    result: Result
    error: MeshbddError | None
    interrupted: bool


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end a load as Ctrl-C does: what was sent until then is told."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _send(running: Workers, gives_up: Literal["for ever", "at all"] | None) -> _Outcome:
    """Wait for the end, or for an early one.

    Args:
        running: The load.
        gives_up: On what it is stopped: where it fails in a way that stays, where it fails at all, or on nothing.
    """
    error, interrupted = None, False
    try:
        _watch(running, gives_up)
    except KeyboardInterrupt:
        interrupted = True
        running.stop(at_once=True)
    except MeshbddError as broken:
        error = broken
    return _Outcome(running.result(), error, interrupted)


def _watch(running: Workers, gives_up: Literal["for ever", "at all"] | None) -> None:
    from meshbdd.load.hopeless import for_ever  # noqa: PLC0415 - see load
    from meshbdd.load.summary import summarise  # noqa: PLC0415 - see load
    from meshbdd.load.watching import watch  # noqa: PLC0415 - see load

    def give_up(progress: Progress) -> None:
        """Stop what would go on like this until its end."""
        if gives_up and progress.failed == progress.finished and 0 < progress.finished < _TRIES:
            summary = summarise(running.result())
            if for_ever(summary) or (gives_up == "at all" and summary.requests and not summary.answered):
                running.stop(at_once=True)

    watch(running, f"{running.plan.message.method} {running.plan.message.url}", look=give_up)


def _tell(outcome: _Outcome, workers: int, expectations: list[Expectation], *, as_json: bool) -> int:
    """Print the numbers; gives the exit code."""
    from meshbdd.load.document import to_document  # noqa: PLC0415 - see load
    from meshbdd.load.hopeless import hopeless, machine_too_slow, without_ports  # noqa: PLC0415 - see load
    from meshbdd.load.summary import summarise  # noqa: PLC0415 - see load

    result, summary = outcome.result, summarise(outcome.result)
    document = to_document(result, summary, workers, expectations)
    met = [one["met"] for one in document["expectations"]]
    broken = outcome.error or without_ports(result, summary.outcomes)
    slow = None if outcome.interrupted else machine_too_slow(result, summary)
    error = broken or slow or (None if met and all(met) else hopeless(result, summary))
    document["error"] = {"code": error.code, "sentence": error.sentence} if error else None
    document["interrupted"] = outcome.interrupted
    if error is not None:
        complain(str(error))
    write(json.dumps(document, indent=2) if as_json else "\n".join(_lines(document)))
    if error is not None:
        return 1 if error is slow and False in met else error.exit_code
    if outcome.interrupted:
        complain("interrupted; these are the requests until then")
        return 130
    if False in met:
        return 1
    if None in met or not summary.wanted:
        what = "no request was sent" if not summary.wanted else "this machine was late with requests that decide"
        complain(f"inconclusive: {what}, so nothing can be expected of it")
        return 4
    return 0


def _lines(document: dict[str, Any]) -> Iterator[str]:
    """The document for people."""
    plan = document["plan"]
    how = f"{plan['rate']:g}/s" if plan["rate"] else f"{plan['users']} users"
    via = f" via {plan['via']}" if plan["via"] else ""
    yield f"{plan['method']} {plan['url']}{via}, {how}"
    yield (
        f"  {document['requests']} requests in {document['seconds']:.2f} s: {document['requests_per_second']:.1f}/s, "
        f"{document['bytes']} bytes of bodies"
    )
    for outcome in document["outcomes"]:
        flags = f", response flags {outcome['flags']}" if outcome["flags"] else ""
        yield f"  {outcome['requests']:>9} × {outcome['told']}{flags}"
    never = (
        ("unsent", "could not be sent in time"),
        ("overdue", "due and not yet sent"),
        ("missed", "missed, for this machine was late"),
        ("stopped", "stopped under way"),
    )
    for field, what in never:
        if document[field]:
            yield f"  {document[field]:>9} × {what}"
    if any(value is not None for value in document["latency_ms"].values()):
        yield "  latency  " + "  ".join(_ms(name, value) for name, value in document["latency_ms"].items())
    if document["lag_ms"]:
        yield "  started behind schedule by  " + "  ".join(
            _ms(name, value) for name, value in document["lag_ms"].items()
        )
    if document["rate"] and not document["rate"]["held"]:
        yield f"  {document['rate']['told']}"
    for one in document["expectations"]:
        yield f"  {_MET[one['met']]}  {one['text']}: {one['seen']}"


def _ms(name: str, value: float | None) -> str:
    return f"{name} {'no answer' if value is None else f'{value:.3g} ms' if value < 1000 else f'{value / 1000:.3g} s'}"
