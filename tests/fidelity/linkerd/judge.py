"""Comparing what the lab answers with what was recorded. Pure functions of the two; nothing is sent here.

Everything that a client can see has to agree. An experiment that is known to differ says of each request in which way:
what was recorded and what the lab does instead (``declared``); anything else is a difference that nobody declared.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.fidelity.linkerd.calls import Seen

Object = dict[str, Any]

LATE = 400.0
"""Milliseconds above which an answer came after a wait; waits are compared, quick answers are just quick."""
_SLACK = 2500.0
_FEW = 2


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference; ``declared`` if it is just the one that was announced."""

    text: str
    declared: bool = False


def as_recorded(item: Object, seen: Sequence[Seen]) -> Iterator[Difference]:
    """How many answers of which status after how many attempts, and each one's headers, body and time."""
    theirs, ours = recorded(item), answered(seen)
    if ours != theirs:
        yield Difference(f"statuses and attempts {ours}, recorded {theirs}")
    else:
        yield from details(item, seen)
        yield from _reached(item, seen)


def recorded(item: Object) -> str:
    """The recorded answers in one line: statuses, attempts, numbers of requests."""
    counts: collections.Counter[tuple[int, int]] = collections.Counter()
    for answer in item["answers"]:
        counts[status_of(answer), answer["attempts"]] += answer["count"]
    return _told(counts)


def answered(seen: Sequence[Seen]) -> str:
    """The lab's answers in the form of ``recorded``."""
    return _told(collections.Counter((one.status, one.attempts) for one in seen))


def status_of(answer: Object) -> int:
    """A recorded status; 0 where there was no answer."""
    text = str(answer["status"])
    return int(text) if text.isdigit() else 0


def _told(counts: collections.Counter[tuple[int, int]]) -> str:
    return ", ".join(f"{status or 'no answer'} after {n} ×{count}" for (status, n), count in sorted(counts.items()))


def details(item: Object, seen: Sequence[Seen]) -> Iterator[Difference]:
    """Headers, bodies and times of the answers of the same status and attempts, and what the application saw."""
    for answer in item["answers"]:
        same = [one for one in seen if (one.status, one.attempts) == (status_of(answer), answer["attempts"])]
        for one in same:
            for line in (*_headers(answer, one), *_body(answer, one)):
                yield Difference(line)
        for line in _times(answer, same):
            yield Difference(line)
    for line in _sight(item, seen):
        yield Difference(line)


_PHRASES = (
    "service in fail-fast", "service unavailable", "request timeout", "response stream timeout", "client error (Connect)",
    "client error (SendRequest)", "no route", "Service not found", "redirected", "traffic not allowed", "HTTP response timeout",
)  # fmt: skip


def _headers(answer: Object, one: Seen) -> Iterator[str]:
    headers = answer.get("headers") or {}
    for name in ("grpc-status", "content-type", "l5d-proxy-connection"):
        if headers.get(name) != one.headers.get(name):
            yield f"{name} {one.headers.get(name)}, recorded {headers.get(name)}"
    error, ours = headers.get("l5d-proxy-error"), one.headers.get("l5d-proxy-error")
    if (error is None) != (ours is None) or (error is not None and not _same_error(error, str(ours))):
        yield f"l5d-proxy-error {ours!r}, recorded {error!r}"
    location = headers.get("location", "")
    if _path(location) != _path(one.headers.get("location", "")):
        yield f"location {one.headers.get('location')}, recorded {location}"


def _same_error(theirs: str, ours: str) -> bool:
    wanted = next((phrase for phrase in _PHRASES if phrase in theirs), None)
    # Envoy learns that its TLS connection was refused with the first request on it, Linkerd while it connects.
    if wanted == "client error (Connect)" and "client error (SendRequest)" in ours:
        return True
    # Both timeouts cut the same way; Envoy's router does not tell which of the two it was.
    if wanted is not None and "timeout" in wanted:
        return "timeout" in ours
    return wanted is not None and wanted in ours


def _body(answer: Object, one: Seen) -> Iterator[str]:
    if answer.get("trailers") and answer["trailers"] != one.trailers:
        yield f"trailers {one.trailers}, recorded {answer['trailers']}"
    if "body" in answer and answer["body"] != one.body:
        yield f"body {one.body!r}, recorded {answer['body']!r}"
    if ("body_error" in answer) != bool(one.error and one.status):
        yield f"end of the body {one.error!r}, recorded {answer.get('body_error')!r}"


def _path(location: str) -> str:
    rest = location.partition("://")[2]
    return location if ":" in rest.partition("/")[0] else "/" + rest.partition("/")[2]


def _times(answer: Object, same: Sequence[Seen]) -> Iterator[str]:
    least, most = answer["ms"]
    for one in same:
        if least >= LATE and one.milliseconds < 0.9 * least - 30:
            yield f"answer after {one.milliseconds:.0f} ms, recorded {least} ms"
        if one.milliseconds > most + _SLACK:
            yield f"answer after {one.milliseconds:.0f} ms, recorded {most} ms"
    # A busy machine makes one answer late, and of several not every one.
    if len(same) > _FEW and (quickest := min(one.milliseconds for one in same)) > most + LATE:
        yield f"each answer after {quickest:.0f} ms at least, recorded {most} ms"


def _sight(item: Object, seen: Sequence[Seen]) -> Iterator[str]:
    """What the application saw."""
    records = [record for one in seen for record in one.records]
    for name, value in (item.get("application_sees_headers") or {}).items():
        if name in {"host", "l5d-orig-proto"}:
            continue
        wrong = {record["headers"].get(name) for record in records} - {value}
        if wrong:
            yield f"application sees {name} {sorted(map(str, wrong))}, recorded {value}"


_PLAYS = {"stable": "10.0.0.1", "canary": "10.0.0.2", "meshed": "10.0.0.1"}


def reached(seen: Sequence[Seen]) -> dict[str, int]:
    """How often the endpoints of the recording were reached."""
    records = [record for one in seen for record in one.records]
    return dict(collections.Counter(_PLAYS.get(record["pod"], record["pod"]) for record in records))


def _reached(item: Object, seen: Sequence[Seen]) -> Iterator[Difference]:
    if "reached" in item and reached(seen) != item["reached"]:
        yield Difference(f"reached {reached(seen)}, recorded {item['reached']}")
