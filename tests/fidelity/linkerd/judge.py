"""Comparing what the lab answers with what was recorded, and the table of what may differ."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.lab.linkerd.deviations import DEVIATIONS
from tests.fidelity.linkerd.calls import Seen, calls
from tests.fidelity.linkerd.world import World

Object = dict[str, Any]

DECLARED = {
    "half": "balancing",
    "half-retry": "balancing",
    "lb-equal": "balancing",
    "lb-slow": "balancing",
    "cb-single": "probation",
    "cb-probe": "probation",
    "cb-single-h2": "probation",
    "t-idle": "idle",
    "r-allzero": "dropped-connection",
    "r-svcport": "dropped-connection",
    "l5d-headers": "request-headers",
    "in-undeclared/unmeshed": "undeclared-port",
    "rt-timeout": "hedging",
    "rt-timeout-only": "hedging",
    "rt-timeout-last": "hedging",
    "rt-timeout-req": "hedging",
    "rt-grpc": "http2-only",
}
"""Experiment → the key of the deviation that it shows. Strict: a line has to go as soon as the lab agrees."""

_ONLY = {"rt-grpc": "HTTP/1.1 GET /s/200", "in-undeclared/unmeshed": "HTTP/1.1 GET /s/200"}
"""Of these experiments the one request that shows it; everything else in them must agree."""

# How many of an item's requests were sent at the same time (the recording says so in ``setup``): (experiment, item).
_AT_ONCE = {
    ("cb-probe", 1): 4, ("rt-par", 0): 50, ("cb-open-many", 1): 5, ("cb-open-many", 2): 5, ("r-split-empty", 0): 20,
    ("in-rl/unmeshed", 0): 5, ("in-rl/meshed", 0): 5, ("in-rl-id/unmeshed", 0): 5, ("in-rl-over/unmeshed", 0): 8,
    ("in-rl-over/meshed", 0): 8, ("lb-equal", 1): 20, ("lb-slow", 1): 20,
}  # fmt: skip
_COUNTS = {"r-split": 500, "rt-split": 120, "half": 60, "half-retry": 60}
"""Experiments about shares: how many requests show them."""

LATE = 400.0
"""Milliseconds above which an answer came after a wait; waits are compared, quick answers are just quick."""
_SLACK = 2500.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an experiment."""

    name: str
    differences: tuple[str, ...]

    @property
    def verdict(self) -> str:
        if self.name in DECLARED:
            if any(not line.startswith(_ONLY.get(self.name, "")) for line in self.differences):
                return "differs"
            return "differs as declared" if self.differences else "agrees now, so the declaration must go"
        return "differs" if self.differences else "agrees"

    @property
    def good(self) -> bool:
        return self.verdict in {"agrees", "differs as declared"}


def declared_reason(name: str) -> str:
    return str(next(d for d in DEVIATIONS if d.key == DECLARED[name]))


def run(world: World, experiment: Object) -> Outcome:
    """Play an experiment and compare."""
    found: list[str] = []
    for number, item in enumerate(experiment["observed"]):
        if "after_ms" in item:
            time.sleep(item["after_ms"] / 1000)  # the recording's own pause: part of the experiment
        recorded = sum(answer["count"] for answer in item["answers"])
        count = _COUNTS.get(experiment["id"], recorded)
        at_once = _AT_ONCE.get((experiment["id"], number), 1)
        seen = calls(world, experiment, item["request"], count, at_once)
        judge = _SHARES.get(experiment["id"], _compare)
        found += [f"{item['request']}: {line}" for line in judge(item, seen)]
    return Outcome(experiment["id"], tuple(found))


def _status(answer: Object) -> int:
    text = str(answer["status"])
    return int(text) if text.isdigit() else 0


def _key(status: int, attempts: int, milliseconds: float) -> tuple[int, int, bool]:
    return status, attempts, milliseconds >= LATE


def _compare(item: Object, seen: Sequence[Seen]) -> Iterator[str]:
    """How many answers of which status after how many attempts, and each one's headers, body and time."""
    theirs: collections.Counter[tuple[int, int]] = collections.Counter()
    for answer in item["answers"]:
        theirs[_status(answer), answer["attempts"]] += answer["count"]
    ours = collections.Counter((one.status, one.attempts) for one in seen)
    if ours != theirs:
        yield f"statuses and attempts {_told(ours)}, recorded {_told(theirs)}"
        return
    for answer in item["answers"]:
        same = [one for one in seen if (one.status, one.attempts) == (_status(answer), answer["attempts"])]
        for one in same:
            yield from _details(answer, one)
        yield from _times(answer, same)
    yield from _sight(item, seen)


def _told(counts: collections.Counter[tuple[int, int]]) -> str:
    return ", ".join(f"{status or 'no answer'} after {n} ×{count}" for (status, n), count in sorted(counts.items()))


_PHRASES = (
    "service in fail-fast", "service unavailable", "request timeout", "response stream timeout", "client error (Connect)",
    "client error (SendRequest)", "no route", "Service not found", "redirected", "traffic not allowed", "HTTP response timeout",
)  # fmt: skip


def _details(answer: Object, one: Seen) -> Iterator[str]:
    headers = answer.get("headers") or {}
    for name in ("grpc-status", "content-type"):
        if headers.get(name) != one.headers.get(name) and (name in headers or name == "grpc-status"):
            yield f"{name} {one.headers.get(name)}, recorded {headers.get(name)}"
    error, ours = headers.get("l5d-proxy-error"), one.headers.get("l5d-proxy-error")
    if (error is None) != (ours is None):
        yield f"l5d-proxy-error {ours!r}, recorded {error!r}"
    elif error is not None:
        wanted = next(phrase for phrase in _PHRASES if phrase in error)
        # Envoy learns that its TLS connection was refused with the first request on it, Linkerd while it connects.
        if "client error (Connect)" in error and "client error (SendRequest)" in str(ours):
            return
        # Both timeouts cut the same way; Envoy's router does not tell which of the two it was.
        if wanted not in str(ours) and "timeout" not in wanted:
            yield f"l5d-proxy-error {ours!r}, recorded {error!r}"
    location = headers.get("location")
    if location is not None and _path(location) != _path(one.headers.get("location", "")):
        yield f"location {one.headers.get('location')}, recorded {location}"
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


def _sight(item: Object, seen: Sequence[Seen]) -> Iterator[str]:
    """What the application saw, and which endpoint it was."""
    records = [record for one in seen for record in one.records]
    for name, value in (item.get("application_sees_headers") or {}).items():
        if name in {"host", "l5d-orig-proto"}:
            continue
        wrong = {record["headers"].get(name) for record in records} - {value}
        if wrong:
            yield f"application sees {name} {sorted(map(str, wrong))}, recorded {value}"
    if "reached" in item:
        plays = {"stable": "10.0.0.1", "canary": "10.0.0.2", "meshed": "10.0.0.1"}
        reached = collections.Counter(plays.get(record["pod"], record["pod"]) for record in records)
        if dict(reached) != item["reached"]:
            yield f"reached {dict(reached)}, recorded {item['reached']}"


# Experiments about shares


def _share(
    least: float, most: float, what: Callable[[Seen], bool], words: str
) -> Callable[[Object, Sequence[Seen]], Iterator[str]]:
    def judge(item: Object, seen: Sequence[Seen]) -> Iterator[str]:
        statuses = {one.status for one in seen} - {_status(answer) for answer in item["answers"]}
        if statuses:
            yield f"statuses {sorted(statuses)}, recorded none of them"
        share = sum(what(one) for one in seen) / len(seen)
        if not least <= share <= most:
            yield f"{share:.0%} {words}, recorded {_told_share(item)}"

    return judge


def _told_share(item: Object) -> str:
    return ", ".join(f"{a['status']} after {a['attempts']} ×{a['count']}" for a in item["answers"])


def _split_empty(item: Object, seen: Sequence[Seen]) -> Iterator[str]:
    """The backend that has nobody: some wait, and as soon as that has failed everything goes to the other."""
    statuses = {one.status for one in seen}
    if statuses - {200, 504}:
        yield f"statuses {sorted(statuses)}, recorded {_told_share(item)}"
    if "after_ms" in item and statuses != {200}:
        yield f"statuses {sorted(statuses)}, recorded 200 alone"


def _split_all_down(item: Object, seen: Sequence[Seen]) -> Iterator[str]:
    """Each backend fails in its own way; which one a request meets is chance."""
    statuses = {one.status for one in seen}
    if not statuses <= {502, 503, 504}:
        yield f"statuses {sorted(statuses)}, recorded {_told_share(item)}"


def _held_by_accrual(item: Object, seen: Sequence[Seen]) -> Iterator[str]:
    """One request's own tries break the circuit; the recording says that the fourth try just slipped through."""
    for one, answer in zip(seen, item["answers"], strict=False):
        if one.status != _status(answer) or not (one.attempts in {3, 4} or answer["attempts"] == one.attempts == 0):
            yield f"{one.status} after {one.attempts} attempts, recorded {_told_share(item)}"


def _lb(item: Object, seen: Sequence[Seen]) -> Iterator[str]:
    """Recorded: by latency, far from equal. Envoy's choice is of another kind, which no count of requests proves."""
    yield f"{len(seen)} requests spread by Envoy's least-request choice, recorded {item['reached']}"


# Bounds that a right lab leaves less than once in a million runs (binomial, the counts above).
_SHARES: dict[str, Callable[[Object, Sequence[Seen]], Iterator[str]]] = {
    "r-split": _share(0.04, 0.18, lambda s: s.records[0]["pod"] == "canary", "reached the 10% backend"),
    "rt-split": _share(0.03, 0.50, lambda s: s.status == 500, "failed after a retry that picks anew (25%)"),
    "r-split-down": _share(0.0, 1.0, lambda s: s.status == 502, "were refused"),
    "half": _share(0.80, 1.0, lambda s: s.status == 502, "met the endpoint that refuses"),
    "half-retry": _share(0.60, 1.0, lambda s: s.status == 502, "met the endpoint that refuses twice"),
    "half-cb": _share(0.0, 0.16, lambda s: s.status == 502, "met the endpoint that refuses before it was taken out"),
    "r-split-empty": _split_empty,
    "r-split-all-down": _split_all_down,
    "rt-cb": _held_by_accrual,
    "lb-equal": _lb,
    "lb-slow": _lb,
}
