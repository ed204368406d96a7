"""Outlier detection: when an endpoint is ejected, for how long, and what callers see meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from tests.fidelity.calls import Answer, Send
from tests.fidelity.checks import Check, by_version, count, flags, over_all, reached, sequence, status
from tests.fidelity.rows import Row
from tests.fidelity.table.faults import PAYMENT, vs
from tests.fidelity.table.routing import INNER, ORDER
from tests.fidelity.world import STRANGER

TOPIC = "Outlier detection"
BASE, INTERVAL = 1.0, 2.0
"""Seconds: the base ejection time and the interval of the rows that measure time. The count of ejections shrinks by one
at each tick that finds the endpoint in service, so it grows only where a tick is further away than the grace."""

GAP = 0.04
"""Seconds between requests where exactly the n-th error opens: the ejection is carried out on another thread."""

GRACE = (0.8, 1.8)
"""Seconds for which an endpoint that came back is called, however it fails: Envoy merges the health changes of a cluster
for 1 s after each (``update_merge_window``), so a second ejection is decided at once and takes effect at the window's end.
"""


def breaker(words: str, host: str = "payment-service") -> str:
    """A DestinationRule with outlier detection."""
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: breaker}\n"
        f"spec: {{host: {host}, trafficPolicy: {{outlierDetection: {{{words}}}}}}}\n"
    )


QUICK = f"consecutive5xxErrors: 3, interval: {INTERVAL:g}s, baseEjectionTime: {BASE:g}s, maxEjectionPercent: 100"
LONG = "consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 30s, maxEjectionPercent: 100"


def opens_after(errors: int) -> Check:
    """The breaker opens after this many answers.

    Envoy ejects on its main thread, which tells the worker: on a busy machine the next request may be quicker.
    """

    def contradiction(answers: Sequence[Answer]) -> str | None:
        first = next((n for n, answer in enumerate(answers) if answer.flags == "UH"), None)
        return None if first in {errors, errors + 1} else f"opens after {first}"

    return Check(f"opens after {errors}", contradiction)


def _phases(answers: Sequence[Answer]) -> list[tuple[bool, float, int]]:
    """Spells in which the breaker was open or closed: (open, seconds to the next spell, requests)."""
    spells = [(is_open, list(group)) for is_open, group in itertools.groupby(answers, key=lambda a: a.flags == "UH")]
    return [
        (is_open, after[1][0].began - group[0].began, len(group))
        for (is_open, group), after in itertools.pairwise(spells)
    ]


def _ejections_grow(answers: Sequence[Answer]) -> str | None:
    spells = _phases(answers)
    opened = [seconds for is_open, seconds, _ in spells if is_open]
    # An ejection that has lasted its time ends at the next tick of the interval.
    fits = [BASE * k - 0.1 <= s <= BASE * k + INTERVAL + 0.3 for k, s in enumerate(opened[:2], 1)]
    return None if fits == [True, True] else f"open for {[round(s, 1) for s in opened]} s"


def _grace(answers: Sequence[Answer]) -> str | None:
    closed = [seconds for is_open, seconds, _ in _phases(answers) if not is_open][1:2]
    return None if closed and GRACE[0] <= closed[0] <= GRACE[1] else f"closed for {[round(s, 2) for s in closed]} s"


def _recovers(answers: Sequence[Answer]) -> str | None:
    back = next((a.began for a in answers if a.status == 200), None)
    shut = all(a.status == 200 for a in answers if back is not None and a.began >= back)
    late = back is None or not BASE - 0.2 <= back <= BASE + INTERVAL + 0.3
    return f"back after {back}" if late or not shut else None


def _both_gone(answers: Sequence[Answer]) -> str | None:
    first = next((answer.began for answer in answers if answer.flags == "UH"), None)
    return None if first is not None and GRACE[0] <= first <= GRACE[1] else f"first UH after {first} s"


_CANARY_FAILS = {"x-do-canary": "503"}

SUBSETS = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: order}
spec: {hosts: [order-service], http: [{route: [{destination: {host: order-service, subset: canary}}]}]}
"""

ROWS = (
    Row(
        TOPIC, "the guide's breaker with one endpoint ejects nothing: maxEjectionPercent is 10 by default", "golden 33, §2.5",
        ((Send(does="503", times=20), (status(503), flags("-"), reached(1))),),
        case="33-dr-outlier-guide", mutant=("baseEjectionTime: 30s", "baseEjectionTime: 30s, maxEjectionPercent: 100"),
    ),
    Row(
        TOPIC, "it opens after exactly the consecutive errors; then 503, no healthy upstream, and nothing reaches the service", "§2.5, §4.1",
        ((Send(does="500", times=12, every=GAP), (opens_after(3), sequence("500 ×3, then 503 UH", ["500 -"] * 3 + ["503 UH"] * 9, lambda a: f"{a.status} {a.flags}"))),),
        resources=breaker(LONG),
    ),
    Row(
        TOPIC, "an ejection lasts base × count and ends on a tick; a new one takes effect 1 s later at the earliest", "§4.1",
        ((Send(does="503", times=170, every=0.05), (
            opens_after(3), over_all("open for base × 1, base × 2", _ejections_grow), over_all("closed for about 1 s", _grace),
        )),),
        resources=breaker(QUICK), mutant=("baseEjectionTime: 1s", "baseEjectionTime: 3s"),
    ),
    Row(
        TOPIC, "a service that has recovered is called again after the ejection", "§2.5",
        ((Send(does="503", times=4, every=GAP), (opens_after(3),)), (Send(times=70, every=0.05), (over_all("back after about base", _recovers),))),
        resources=breaker(QUICK),
    ),
    Row(
        TOPIC, "an answer below 500 resets the count", "§2.5",
        tuple((Send(does=does, times=times), (flags("-"), reached(1))) for does, times in (("503", 2), ("404", 1), ("503", 2), ("200", 1), ("503", 2))),
        resources=breaker(LONG), mutant=("Errors: 3", "Errors: 2"),
    ),
    Row(
        TOPIC, "of two endpoints the broken one is ejected at 50 percent; the other takes all", "§2.5, trap 15",
        (
            (Send(ORDER, INNER, times=30, headers=_CANARY_FAILS, every=GAP), (count("errors", 3, 3, lambda a: a.status == 503),)),
            (Send(ORDER, INNER, times=20, headers=_CANARY_FAILS), (status(200), by_version("stable"))),
        ),
        resources=breaker(LONG.replace("100", "50"), "order-service"),
    ),
    Row(
        TOPIC, "of two endpoints none is ejected at the default of 10 percent", "§2.5, trap 15",
        ((Send(ORDER, INNER, times=60, headers=_CANARY_FAILS), (count("errors", 10, 50, lambda a: a.status == 503),)),),
        resources=breaker("consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 30s", "order-service"),
        mutant=("baseEjectionTime: 30s", "baseEjectionTime: 30s, maxEjectionPercent: 50"),
    ),
    Row(
        TOPIC, "consecutiveGatewayErrors counts 502, 503, 504", "golden 35, §2.5",
        ((Send(does="504", times=6, every=GAP), (opens_after(2),)),),
        case="35-dr-outlier-gateway-only",
    ),
    Row(
        TOPIC, "beside it the five consecutive 5xx of Envoy's default stay in force", "golden 35, trap 17",
        ((Send(does="500", times=8, every=GAP), (opens_after(5),)),),
        case="35-dr-outlier-gateway-only",
    ),
    Row(
        TOPIC, "consecutive5xxErrors 0 turns that detector off", "golden 36, §2.5",
        ((Send(does="500", times=20), (status(500), flags("-"), reached(1))),),
        resources=breaker("consecutive5xxErrors: 0, maxEjectionPercent: 100"), mutant=("Errors: 0", "Errors: 5"),
    ),
    Row(
        TOPIC, "timeouts count as errors", "§2.5",
        ((Send(does="hang", times=5, every=GAP), (opens_after(3),)),),
        resources=breaker(LONG) + "\n---\n" + vs("timeout: 100ms"),
        mutant=("Errors: 3", "Errors: 30"),
    ),
    Row(
        TOPIC, "below minHealthPercent Envoy panics and calls everybody, ejected or not", "§2.5",
        ((Send(does="503", times=15), (status(503), flags("-"), reached(1))),),
        resources=breaker(f"{LONG}, minHealthPercent: 50"), mutant=("minHealthPercent: 50", "minHealthPercent: 0"),
    ),
    Row(
        TOPIC, "of two endpoints that fail together the second leaves 1 s after the first: Envoy merges health changes", "§4.1, golden 01 (no update_merge_window)",
        ((Send(ORDER, INNER, does="503", times=50, every=0.05), (over_all("503 UH after about 1 s", _both_gone),)),),
        resources=breaker(LONG, "order-service"),
    ),
    Row(
        TOPIC, "each caller ejects for itself", "§2.5, trap 18",
        ((Send(does="503", times=5, every=GAP), (opens_after(3),)), (Send(PAYMENT, STRANGER, times=3), (status(200), flags("-")))),
        resources=breaker(LONG),
    ),
    Row(
        TOPIC, "each attempt of a retried request counts", "§2.5",
        ((Send(does="503", times=3, every=0.2), (sequence("1 + 2 tries, then none", ["3", "0", "0"], lambda a: str(len(a.records))),)),),
        resources=breaker(LONG) + "\n---\n" + vs("retries: {attempts: 2, retryOn: 5xx}"),
    ),
    Row(
        TOPIC, "a subset's own policy counts where a route leads to the subset", "golden 41, §2.5",
        ((Send(ORDER, INNER, does="503", times=5, every=GAP), (opens_after(1),)),),
        case="41-dr-subset-policy", resources=SUBSETS,
    ),
    Row(
        TOPIC, "without such a route it counts for nothing", "golden 41, §2.5",
        ((Send(ORDER, INNER, does="503", times=40, every=0.05), (flags("-"), reached(1))),),
        case="41-dr-subset-policy",
        mutant=("outlierDetection: {consecutive5xxErrors: 5}", "outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}"),
    ),
)  # fmt: skip
