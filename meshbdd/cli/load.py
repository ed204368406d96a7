"""``meshbdd load``: the load engine on the command line."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from meshbdd.errors import BadInput, MeshbddError, Place
from meshbdd.units import Duration, Rate

if TYPE_CHECKING:  # imported by the command itself, so that --help is quick
    from meshbdd.load import Message, Plan, Progress, Result, Vantage
    from meshbdd.load.expectation import Expectation
    from meshbdd.load.workers import Workers

DEFAULT_SECONDS = 10.0
DEFAULT_USERS = 10
REDIRECTS = 10
_KEEP = 1024 * 1024
"""Bytes of answers kept in full: nothing but the numbers is shown."""
_TRIES = 100_000
"""Failures to look through for why nothing is answered; whoever has seen so many knows no more after others."""


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
    this machine is broken, 130 interrupted. What was sent until then is told in any case.
    """
    from meshbdd.load.document import schema  # noqa: PLC0415 - not needed for --help
    from meshbdd.load.expectation import read_expectations  # noqa: PLC0415 - as above
    from meshbdd.load.workers import Workers  # noqa: PLC0415 - as above

    if show_schema:
        click.echo(json.dumps(schema(), indent=2))
        return
    expectations = read_expectations(expect) if expect is not None else []
    if workers < 1:
        raise BadInput("MB0252", f"{workers} processes send nothing.", help="use at least one: --workers 1")
    plan = _plan(target, **options)
    with _interruptible(), Workers.start(plan, workers) as running:
        outcome = _send(running)
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


def _send(running: Workers) -> _Outcome:
    from meshbdd.load.hopeless import hopeless  # noqa: PLC0415 - see load
    from meshbdd.load.summary import summarise  # noqa: PLC0415 - see load
    from meshbdd.load.watching import watch  # noqa: PLC0415 - see load

    def give_up(progress: Progress) -> None:
        """Stop what would go on like this until its end."""
        if progress.failed == progress.finished and 0 < progress.finished < _TRIES:
            result = running.result()
            if hopeless(result, summarise(result)) is not None:
                running.stop(at_once=True)

    error, interrupted = None, False
    try:
        watch(running, f"{running.plan.message.method} {running.plan.message.url}", look=give_up)
    except KeyboardInterrupt:
        interrupted = True
        running.stop(at_once=True)
    except MeshbddError as broken:
        error = broken
    return _Outcome(running.result(), error, interrupted)


def _plan(target: str | None, **options: Any) -> Plan:
    """Everything that the command line says, checked before anything is sent."""
    from meshbdd.load import Pace, Plan  # noqa: PLC0415 - see load

    if target is None:
        raise BadInput("MB0250", "No URL and no file is given.", help="write meshbdd load URL, or --help")
    rate, users, duration, count = (options[name] for name in ("rate", "users", "duration", "count"))
    if rate is not None and users is not None:
        raise BadInput(
            "MB0251",
            "--rate and --users contradict each other: requests start either at a rate or when users are answered.",
            help="leave one of them out",
        )
    if rate is None and (options["ramp"] is not None or options["poisson"]):
        raise BadInput("MB0253", "--ramp and --poisson need a rate.", help="add --rate, like --rate 200/s")
    pace = None
    if rate is not None:
        ramp = Duration.parse(options["ramp"]) if options["ramp"] is not None else None
        pace = Pace(Rate.parse(rate), ramp, options["poisson"])
    if duration is None and count is None:
        lasting: Duration | None = Duration(DEFAULT_SECONDS)
    else:
        lasting = Duration.parse(duration) if duration is not None else None
    return Plan(
        _message(target),
        _vantage(options["via"], options["lab"]),
        users=DEFAULT_USERS if users is None else users,
        pace=pace,
        count=count,
        duration=lasting,
        fresh=options["fresh"],
        timeout=Duration.parse(options["timeout"]),
        http2=options["http2"] or None,
        insecure=options["insecure"],
        follow=0 if options["no_follow"] else REDIRECTS,
        keep=_KEEP,
    )


def _message(target: str) -> Message:
    from meshbdd.load import read_message  # noqa: PLC0415 - see load

    schemes = ("http", "https")
    if "://" in target:
        return read_message(target, f"GET {target}", schemes=schemes)
    file = Path(target)
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError:
        raise BadInput("MB0254", f"{file} is no text.", help="write the request as an HTTP message") from None
    except OSError as error:
        raise BadInput(
            "MB0255",
            f"'{target}' is no URL, and no file that can be read: {error.strerror}.",
            help="write http://HOST/PATH, or the path of a file with a request",
        ) from None
    return read_message(file.name, text, Place(file, 1), offset=0, schemes=schemes)


def _vantage(via: str | None, name: str | None) -> Vantage | None:
    """The sidecar of a service's pod in a running lab; ``None`` where nothing says so."""
    if via is None:
        return None
    from meshbdd.cluster import Cluster  # noqa: PLC0415 - see load
    from meshbdd.intents import ServiceRef  # noqa: PLC0415 - see load
    from meshbdd.lab import lifecycle  # noqa: PLC0415 - see load
    from meshbdd.load import Vantage  # noqa: PLC0415 - see load
    from meshbdd.scenario.vantages import OUTBOUND_ANNOTATION  # noqa: PLC0415 - see load
    from meshbdd.settings import load_settings  # noqa: PLC0415 - see load

    settings = load_settings()
    name = name or settings.lab
    found = lifecycle.find(name)
    if found is None:
        raise BadInput("MB0256", f"--via {via}: no lab '{name}' runs.", help=f"bring it up: meshbdd lab up {name}")
    cluster = Cluster.connect(found.kubeconfig, namespace=settings.namespace)
    service = ServiceRef.parse(via, settings.namespace or cluster.namespace)
    pods = cluster.list("Pod", service.namespace, labels=f"app={service.name}")
    annotations = [(pod["metadata"].get("annotations") or {}).get(OUTBOUND_ANNOTATION) for pod in pods]
    address = next((address for address in annotations if address), None)
    if address is None:
        known = {str(pod["metadata"]["labels"].get("app")) for pod in cluster.list("Pod", service.namespace)}
        raise BadInput(
            "MB0257",
            f'--via {via}: no pod labelled app={service.name} in namespace "{service.namespace}" has a sidecar.',
            help=f"use one of: {', '.join(sorted(known))}" if known else "deploy something first",
        )
    return Vantage(via, address)


def _tell(outcome: _Outcome, workers: int, expectations: list[Expectation], *, as_json: bool) -> int:
    """Print the numbers; gives the exit code."""
    from meshbdd.load.document import to_document  # noqa: PLC0415 - see load
    from meshbdd.load.hopeless import hopeless  # noqa: PLC0415 - see load
    from meshbdd.load.summary import summarise  # noqa: PLC0415 - see load

    summary = summarise(outcome.result)
    error = outcome.error or hopeless(outcome.result, summary)
    document = to_document(outcome.result, summary, workers, expectations)
    document["error"] = {"code": error.code, "sentence": error.sentence} if error else None
    document["interrupted"] = outcome.interrupted
    click.echo(json.dumps(document, indent=2) if as_json else "\n".join(_lines(document)))
    if error is not None:
        click.echo(str(error), err=True)
        return error.exit_code
    if outcome.interrupted:
        click.echo("interrupted; these are the requests until then", err=True)
        return 130
    if len(document["expectations"]) < len(expectations):
        click.echo("inconclusive: no request was sent, so nothing can be expected of it", err=True)
        return 4
    return 0 if all(one["met"] for one in document["expectations"]) else 1


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
        ("stopped", "stopped under way"),
    )
    for field, what in never:
        if document[field]:
            yield f"  {document[field]:>9} × {what}"
    if document["latency_ms"]:
        yield "  latency  " + "  ".join(_ms(name, value) for name, value in document["latency_ms"].items())
    if document["lag_ms"]:
        yield "  started behind schedule by  " + "  ".join(
            _ms(name, value) for name, value in document["lag_ms"].items()
        )
    for one in document["expectations"]:
        yield f"  {'met    ' if one['met'] else 'NOT MET'}  {one['text']}: {one['seen']}"


def _ms(name: str, value: float | None) -> str:
    return f"{name} {'no answer' if value is None else f'{value:.3g} ms' if value < 1000 else f'{value / 1000:.3g} s'}"
