"""What each request of the recording is expected to come to: as recorded, by chance within bounds, or declared to differ.

Bounds of chance are ones that a right lab leaves less than once in a million runs (binomial); the recording has to lie
within them too, or they are bounds of something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.fidelity.linkerd.calls import Seen
from tests.fidelity.linkerd.judge import Difference, answered, as_recorded, details, reached, recorded, status_of

Object = dict[str, Any]
Judge = Callable[[Object, Sequence[Seen]], Iterator[Difference]]
Pick = Callable[[int, int], bool]
"""Whether an answer of this status after so many attempts is one of those that are counted."""

COUNTS = {"rt-split": 120, "r-split-down": 100, "r-split-all-down": 20, "half": 60, "half-retry": 60, "half-cb": 60}
"""Experiments about shares: how many requests show them, where that is more than were recorded."""

# How many of an item's requests were sent at the same time (the recording says so in ``setup``): (experiment, item).
AT_ONCE = {
    ("cb-probe", 1): 4, ("rt-par", 0): 50, ("cb-open-many", 1): 5, ("cb-open-many", 2): 5, ("r-split-empty", 0): 20,
    ("in-rl/unmeshed", 0): 5, ("in-rl/meshed", 0): 5, ("in-rl-id/unmeshed", 0): 5, ("in-rl-over/unmeshed", 0): 8,
    ("in-rl-over/meshed", 0): 8, ("lb-equal", 1): 20, ("lb-slow", 1): 20,
}  # fmt: skip


def _same_kinds(item: Object, seen: Sequence[Seen]) -> Iterator[Difference]:
    known = {(status_of(answer), answer["attempts"]) for answer in item["answers"]}
    for status, attempts in sorted({(one.status, one.attempts) for one in seen} - known):
        yield Difference(f"{status or 'no answer'} after {attempts} attempts, recorded {recorded(item)}")


def _number(item: Object, pick: Pick) -> int:
    return sum(answer["count"] for answer in item["answers"] if pick(status_of(answer), answer["attempts"]))


def share(*bounds: tuple[float, float, str, Pick]) -> Judge:
    """Shares of the answers, each between a least and a most; the answers themselves, and who gave them, as recorded."""

    def judge(item: Object, seen: Sequence[Seen]) -> Iterator[Difference]:
        yield from _same_kinds(item, seen)
        yield from details(item, seen)
        if item.get("reached", {}).keys() - reached(seen).keys():
            yield Difference(f"reached {reached(seen)}, recorded {item['reached']}")
        for least, most, words, pick in bounds:
            ours = sum(pick(one.status, one.attempts) for one in seen) / len(seen)
            theirs = _number(item, pick) / _number(item, lambda _status, _attempts: True)
            if not (least <= ours <= most and least <= theirs <= most):
                yield Difference(f"{ours:.0%} {words}, recorded {theirs:.0%}; expected {least:.0%} to {most:.0%}")

    return judge


def exactly(count: int, words: str, pick: Pick) -> Judge:
    """So many answers of a kind, however many of the other; each as recorded."""

    def judge(item: Object, seen: Sequence[Seen]) -> Iterator[Difference]:
        yield from _same_kinds(item, seen)
        yield from details(item, seen)
        ours = sum(pick(one.status, one.attempts) for one in seen)
        if (ours, _number(item, pick)) != (count, count):
            yield Difference(f"{ours} {words}, recorded {_number(item, pick)}; expected {count}")

    return judge


def endpoint_share(address: str, least: float, most: float) -> Judge:
    """How often an endpoint is reached, of as many requests as were recorded; all else as recorded."""

    def judge(item: Object, seen: Sequence[Seen]) -> Iterator[Difference]:
        yield from as_recorded({name: value for name, value in item.items() if name != "reached"}, seen)
        for told in (reached(seen), item["reached"]):
            part = told.get(address, 0) / sum(told.values())
            if not least <= part <= most:
                yield Difference(f"{part:.0%} reached {address}; expected {least:.0%} to {most:.0%}")

    return judge


def one_of(*tellings: str, least: int | None = None) -> Judge:
    """Chance decides between a few outcomes of one request, whose headers are the same.

    Args:
        tellings: The outcomes.
        least: Milliseconds that each of them takes; as long as recorded where ``None``.
    """

    def judge(item: Object, seen: Sequence[Seen]) -> Iterator[Difference]:
        if answered(seen) not in tellings or recorded(item) not in tellings:
            yield Difference(f"{answered(seen)}, recorded {recorded(item)}; expected one of {'; '.join(tellings)}")
        (answer,) = item["answers"]
        if least is not None and least <= answer["ms"][0] <= 2 * least:
            answer = {**answer, "ms": [least, answer["ms"][1]]}
        for one in seen:
            yield from details({**item, "answers": [{**answer, "attempts": one.attempts}]}, [one])

    return judge


# What is declared to differ


def instead(theirs: Sequence[Object], ours: Sequence[Object]) -> Judge:
    """Other answers than the recorded ones: which were recorded, and which the lab gives.

    Args:
        theirs: The recorded answers as they stand in the recording, times only where there was a wait.
        ours: What the lab gives in their place.
    """

    def judge(item: Object, seen: Sequence[Seen]) -> Iterator[Difference]:
        told = [_essence(answer) for answer in item["answers"]]
        if sorted(map(str, told)) != sorted(map(str, map(_essence, theirs))):
            yield Difference(f"the recording says {told}, the declaration is of {list(theirs)}")
        found = list(as_recorded({**item, "answers": list(ours)}, seen))
        yield from found
        if not found:
            yield Difference(f"{answered(seen)}, recorded {recorded(item)}", declared=True)

    return judge


def _essence(answer: Object) -> Object:
    """An answer without the addresses in its messages and without what quick answers took."""
    made = {name: answer[name] for name in ("status", "attempts", "count", "body", "body_error") if name in answer}
    made["status"] = status_of(answer)
    made["ms"] = answer["ms"][0] if answer["ms"][0] >= 200 else 0
    if error := (answer.get("headers") or {}).get("l5d-proxy-error"):
        made["error"] = error.rpartition(": ")[2]
        made["connection"] = answer["headers"].get("l5d-proxy-connection")
    return made


def other_share(address: str, theirs: tuple[float, float], ours: tuple[float, float]) -> Judge:
    """An endpoint is reached by another share of the requests: the recorded one and the lab's, each within bounds."""

    def judge(item: Object, seen: Sequence[Seen]) -> Iterator[Difference]:
        yield from as_recorded({name: value for name, value in item.items() if name != "reached"}, seen)
        yield from _apart(_part(item["reached"], address), _part(reached(seen), address), theirs, ours, f"at {address}")

    return judge


def other_answers(pick: Pick, theirs: tuple[float, float], ours: tuple[float, float], words: str) -> Judge:
    """Another share of the answers is of a kind; each answer by itself as recorded."""

    def judge(item: Object, seen: Sequence[Seen]) -> Iterator[Difference]:
        yield from _same_kinds(item, seen)
        yield from details(item, seen)
        told = _number(item, pick) / _number(item, lambda _status, _attempts: True)
        yield from _apart(told, sum(pick(one.status, one.attempts) for one in seen) / len(seen), theirs, ours, words)

    return judge


def _part(told: Mapping[str, int], address: str) -> float:
    return told.get(address, 0) / sum(told.values())


def _apart(
    told: float, mine: float, theirs: tuple[float, float], ours: tuple[float, float], words: str
) -> Iterator[Difference]:
    fits = theirs[0] <= told <= theirs[1] and ours[0] <= mine <= ours[1]
    yield Difference(f"{mine:.0%} {words}, recorded {told:.0%}", declared=fits)


def _answer(status: int, attempts: int, count: int = 1, ms: int = 0, error: str = "", **more: Any) -> Object:
    headers = {"l5d-proxy-error": error, "l5d-proxy-connection": "close"} if error else {}
    return {"status": status, "attempts": attempts, "count": count, "ms": [ms, ms], "headers": headers, **more}


_REFUSED: Pick = lambda status, _attempts: status == 502  # noqa: E731 - a name for what stands four times below
_FAIL_FAST, _UNAVAILABLE = "service in fail-fast", "service unavailable"
_BROKEN = instead([_answer(503, 0, error=_UNAVAILABLE)], [_answer(200, 1)])


@dataclass(frozen=True, slots=True)
class Declared:
    """An experiment that differs: the key of its deviation, and how by the number of the request."""

    key: str
    items: Mapping[int, Judge]


DECLARED: Mapping[str, Declared] = {
    # Of two endpoints each gets half of the requests, by Envoy's choice of the less busy of two.
    "half": Declared("balancing", {0: other_answers(_REFUSED, (0.9, 0.98), (0.18, 0.82), "were refused")}),
    "half-retry": Declared("balancing", {0: other_answers(_REFUSED, (0.7, 0.9), (0.01, 0.53), "were refused twice")}),
    "lb-equal": Declared(
        "balancing",
        {0: other_share("10.0.0.1", (0.15, 0.3), (0.33, 0.67)), 1: other_share("10.0.0.1", (0.25, 0.33), (0.33, 0.67))},
    ),
    "lb-slow": Declared("balancing", {0: other_share("10.0.0.1", (0.75, 0.9), (0.26, 0.74))}),
    "cb-single": Declared("probation", {1: _BROKEN}),
    "cb-single-h2": Declared("probation", {1: _BROKEN}),
    "cb-probe": Declared(
        "probation",
        {
            0: instead([_answer(500, 1, 4)], [_answer(500, 1, 3), _answer(504, 0, 1, 3000, _FAIL_FAST)]),
            1: instead([_answer(504, 0, 3, 4669, _FAIL_FAST), _answer(500, 1, 1, 1947)], [_answer(500, 1, 4, 300)]),
            2: instead([_answer(504, 0, 1, 3006, _FAIL_FAST), _answer(500, 1)], [_answer(500, 1, 2)]),
        },
    ),
    "t-idle": Declared(
        "idle",
        {
            1: instead(
                [_answer(200, 1, ms=504, body="first", body_error="unexpected EOF")],
                [_answer(200, 1, ms=2000, body="firstsecond")],
            )
        },
    ),
    "rt-timeout": Declared("hedging", {0: instead([_answer(200, 3, ms=1756)], [_answer(200, 3, ms=1000)])}),
    "rt-timeout-only": Declared("hedging", {0: instead([_answer(200, 2, ms=1353)], [_answer(200, 2, ms=1000)])}),
    "rt-timeout-last": Declared("hedging", {0: instead([_answer(200, 2, ms=843)], [_answer(200, 2, ms=500)])}),
    "l5d-headers": Declared("hedging", {3: instead([_answer(200, 2, ms=1339)], [_answer(200, 2, ms=1000)])}),
}
"""Strict: a request of these that agrees is as wrong as one of the others that differs."""

_CHANCE: Mapping[str, Mapping[int, Judge]] = {
    "r-split": {0: endpoint_share("10.0.0.2", 0.04, 0.18)},
    "rt-split": {
        0: share(
            (0.05, 0.45, "failed after a retry that picks anew", lambda status, _attempts: status == 500),
            (0.28, 0.72, "were tried again", lambda _status, attempts: attempts == 2),
        )
    },
    "r-split-down": dict.fromkeys((0, 1), share((0.25, 0.75, "were refused", _REFUSED))),
    # All twenty are under way before the first one has waited in vain.
    "r-split-empty": {0: share((0.05, 0.95, "waited for nobody", lambda status, _attempts: status == 504))},
    # The first that draws the empty backend waits; after it all go to the other, which refuses.
    "r-split-all-down": {0: exactly(1, "waited for nobody", lambda status, _attempts: status == 504)},
    # Many at once: both balancers then go by who is busy, and the slower endpoint is.
    "lb-slow": {1: endpoint_share("10.0.0.1", 0.35, 0.97)},
    "half-cb": {0: exactly(3, "were refused before the endpoint was taken out", _REFUSED)},
    # One request's own tries break the circuit; the recording says that the fourth try just slipped through. It took two
    # more pauses, and the three seconds begin after the last one.
    "rt-cb": {0: one_of("503 after 3 ×1", "503 after 4 ×1", least=3050)},
    # Three tries of 200 ms; Envoy draws the pauses between them, and may draw next to none.
    "rt-timeout": {1: one_of("500 after 3 ×1", least=600)},
    # The third try begins 300 + 25…50 + 300 + 50…100 ms after the first, the request ends after 700.
    "rt-timeout-req": {0: one_of("504 after 2 ×1", "504 after 3 ×1")},
}
"""Experiments in which chance has a part, by the number of the request."""


def judge_of(name: str, number: int) -> Judge:
    """How a request of an experiment is judged."""
    declared = DECLARED[name].items if name in DECLARED else {}
    return declared.get(number) or _CHANCE.get(name, {}).get(number) or as_recorded


def left_to_chance(name: str) -> bool:
    """Whether chance decides how many requests of an experiment come to what."""
    return name in _CHANCE or name in COUNTS
