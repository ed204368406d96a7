"""Queries of Prometheus, about one scenario: a counter counts from the scenario's beginning, a window lies within it.

Prometheus keeps what every earlier scenario, and everybody else, did to a counter. So each selector of a counter is asked
for what its series grew by since the scenario began, whatever the query makes of that; and where this cannot be told (a pod
was replaced, a window reaches back too far), the claim is inconclusive.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable

from meshbdd.claims import Verdict, mesh
from meshbdd.errors import BadInput, EnvironmentBroken, Inconclusive
from meshbdd.evidence import QueryAnswered
from meshbdd.scenario.asides import ASKED
from meshbdd.scenario.call_log import CallLog
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.scrapes import Scrapes
from meshbdd.scenario.traffic import Traffic
from meshbdd.telemetry.outcomes import apart_from_outcomes
from meshbdd.telemetry.prometheus import Prometheus, ended_of, over_http, through_api
from meshbdd.telemetry.promql import COUNTING, GROWTH, SPREAD, Query, Selector, parse
from meshbdd.telemetry.proxies import address_of
from meshbdd.units import Duration, counted
from meshbdd.waiting import NotYet, eventually

_COUNTS = "a counter counts from the scenario's beginning"
Why = tuple[str, str]
"""Why something cannot be told, and what to do."""
_LOOKS = 3
"""How often Prometheus is asked where a scrape just failed: on a busy machine some time out."""
_FAILED = "look at what its page /targets says of that scrape, and run the scenario again"
_HISTOGRAM = re.compile(r"_(?:bucket|sum|count)\b")


class Queries:
    """What Prometheus says of one scenario.

    Args:
        environment: What the run shares.
        traffic: The scenario's requests.
        log: What the proxies logged since it began.
        steps: The texts of the scenario's steps: where one is a query, counting begins here.
    """

    def __init__(self, environment: Environment, traffic: Traffic, log: CallLog, steps: Iterable[str]) -> None:
        self._environment = environment
        self._traffic = traffic
        self._log = log
        self._proxies = log.proxies
        url = environment.settings.prometheus
        self._prometheus = Prometheus(over_http(url) if url else through_api(environment.cluster))
        self._began = self._still = 0.0
        """Prometheus' time of the last scrape that counting begins with, and that before which all of these were due."""
        self._asides = 0
        """How many requests claims had sent for themselves when counting began."""
        self._there: frozenset[str] = frozenset()
        """Addresses of the pods that the scenario began with."""
        self._why_not: Inconclusive | EnvironmentBroken | None = None
        self._texts = list(steps)
        asked = [text for text in self._texts if ASKED.match(text)]
        histograms = any(_HISTOGRAM.search(text) for text in asked)
        self._scrapes = Scrapes(environment, self._prometheus, self._proxies, of_histograms=histograms)
        if asked:
            self._begin()

    def not_taken(self) -> tuple[int, BadInput] | None:
        """Which step's query is none by Prometheus' own grammar, and why; ``None``: none of them, or it cannot be asked."""
        for number, text in enumerate(self._texts):
            if asked := ASKED.match(text):
                try:
                    self._prometheus.see_taken(asked[1])
                except BadInput as error:
                    return number, error
                except (EnvironmentBroken, Inconclusive):  # its own step says so
                    return None
        return None

    def begin_anew(self) -> None:
        """Count from here on, where none but requests for comparison were sent so far."""
        if self._began and len(self._traffic.own.ids) > self._asides and not self._traffic.has_sent:
            self._begin()

    def _begin(self) -> None:
        self._asides = len(self._traffic.own.ids)
        try:
            self._began = self._first_scrape()
        except (Inconclusive, EnvironmentBroken) as error:
            self._why_not = error  # of the claims; what else the scenario says may well be told

    def _first_scrape(self) -> float:
        """Prometheus' time of scrapes that hold all that was before this scenario."""
        self._prometheus.query("vector(1)")  # none there: no need to wait for anything else
        self._environment.wait_still()
        self._there = frozenset(
            address_of(pod) for pod in self._proxies.every() if not pod["metadata"].get("deletionTimestamp")
        )
        self._still = self._prometheus.now()
        return self._scrapes.wait_first(self._still)

    def judge(self, claim: str, promql: str, relation: str, wanted: float, within: Duration | None) -> Verdict:
        """Hold the one number that a query gives against another, now or as soon as it fits.

        Raises:
            BadInput: the query gives several numbers, or is none.
            Inconclusive: Prometheus does not know all of the scenario, or nobody can tell what belongs to it.
        """
        if self._why_not is not None:
            raise self._why_not
        if not self._began:
            raise Inconclusive(
                "MB0652", f"{claim}: nobody counted from the scenario's beginning.", help="run the feature"
            )
        query = parse(promql)
        self._traffic.wait_met()
        verdict = self._settled(query, claim, relation, wanted, within)
        return self._traffic.met(verdict) if self._counters(query) else verdict

    def _counters(self, query: Query) -> set[str]:
        """The metrics of a query that only grow."""
        return {s.metric for s in query.selectors if s.metric and self._prometheus.is_counter(s.metric)}

    def _settled(self, query: Query, claim: str, relation: str, wanted: float, within: Duration | None) -> Verdict:
        """What a query tells once Prometheus has asked every proxy after the last request, or as soon as it fits."""
        last = max((sample.started + sample.seconds for sample in self._traffic.samples), default=0.0)
        self._scrapes.wait(last, "after the last request")
        if within is None:
            return self._now(query, claim, relation, wanted)
        verdict: list[Verdict] = []

        def probe() -> None:
            verdict[:] = [self._now(query, claim, relation, wanted)]
            if verdict[0].outcome != "passed":
                raise NotYet(verdict[0].sentence)

        with contextlib.suppress(Inconclusive):  # the last verdict says it
            eventually(probe, what="it", within=within, failure=Inconclusive, longest_pause=0.5)
        return verdict[0]

    def _now(self, query: Query, claim: str, relation: str, wanted: float) -> Verdict:
        """What a query tells while no scrape fails of a pod that it may mean: with one that does all series of the pod are gone."""
        uncounted = self._scrapes.uncounted
        unknown = self._scrapes.meant(query, uncounted) if uncounted and self._counters(query) else []
        if unknown:
            why = f"Prometheus' scrapes of {_pods(unknown)} failed when counting began, and nobody knows what it had counted by then"
            return mesh.query_cannot_tell(claim, why, _FAILED)
        failed: list[str] = []
        for _ in range(_LOOKS):
            before = self._scrapes.failing()
            verdict = self._told(query, claim, relation, wanted)
            failed = self._scrapes.meant(query, before | self._scrapes.failing())
            if not failed:
                return verdict
            self._scrapes.wait(self._prometheus.now(), "again")
        why = f"Prometheus' last scrape of {_pods(failed)} failed, and it has no series of it then"
        return mesh.query_cannot_tell(claim, why, _FAILED)

    def _told(self, query: Query, claim: str, relation: str, wanted: float) -> Verdict:
        counters = self._counters(query)
        now = self._prometheus.now()
        why = _out_of_reach(query, counters, now - self._began)
        if any(selector.metric in counters for selector in query.selectors):
            why = why or self._asides_counted() or self._late_counted()
        for selector in (s for s in query.selectors if s.metric in counters):
            why = why or self._unknown_growth(query.source(selector), selector, now)
            why = why or self._wrong(query.source(selector))
            why = why or self._not_grown(query.source(selector), selector)
        if why:
            return mesh.query_cannot_tell(claim, *why)
        bare = [s for s in query.selectors if s.metric in counters and s.window is None]
        asked = query.replaced([(s, self._growth(query.source(s), s)) for s in bare])
        rows = self._prometheus.query(asked)
        self._environment.tell(QueryAnswered(asked, tuple((dict(row.labels), row.value) for row in rows)))
        if len(rows) > 1:
            raise BadInput(
                "MB0649",
                f"The query {query.text!r} gives {len(rows)} series, and a claim needs one number.",
                help="wrap it in sum(…), max(…) or min(…)",
            )
        if not rows and any(not self._prometheus.query(f"count({query.source(s)})") for s in bare):
            why = (
                "it finds nothing, and nothing is no number: no call has ended so",
                "add «or vector(0)»: then none is 0",
            )
            return mesh.query_cannot_tell(claim, *why)
        value = rows[0].value if rows else None
        why_empty = "" if rows else self._prometheus.why_empty(query.text)
        return mesh.query_is(
            claim,
            value,
            relation,
            wanted,
            why_empty,
            since_scenario=bool(bare),
            unscraped=self._scrapes.unscraped_and_meant(query),
            only_adds=bool(bare) and query.only_adds,
        )

    def _asides_counted(self) -> Why | None:
        """Whether claims have sent requests of their own since counting began: Prometheus cannot tell them from the others."""
        more = len(self._traffic.own.ids) - self._asides
        too = "which is counted too" if more == 1 else "which are counted too"
        why = f"claims of this scenario have sent {counted(more, 'request')} for themselves, {too}"
        return (why, "ask before these claims, or in a scenario of its own") if more else None

    def _late_counted(self) -> Why | None:
        """Whether calls of an earlier scenario ended when counting began, or later: nobody waited for their end."""
        earlier = self._environment.sent.are_earlier
        late = sum(e.started + e.seconds > self._still and earlier(e.request_id) for e in self._log.everything())
        why = f"{counted(late, 'call')} of an earlier scenario ended only in this one, and {'is' if late == 1 else 'are'} counted too"
        return (why, "let that scenario wait for the end of its calls") if late else None

    def _growth(self, source: str, selector: Selector) -> str:
        """What the series of a counter grew by; those that did not grow are none where series are counted."""
        grown = f"(({source} - {source} @ {self._began:.3f}) or ({source} + 0))"
        return f"({grown} > 0)" if COUNTING & set(selector.functions) else grown

    def _wrong(self, source: str) -> Why | None:
        """Whether a selector of a counter names what is not there: «or vector(0)» would make a number of it.

        That no call has ended so yet is nothing wrong, as long as calls are counted that could have.
        """
        if self._prometheus.query(f"count({source})"):
            return None
        of_calls = apart_from_outcomes(source)
        if of_calls and self._prometheus.query(f"count({of_calls})"):
            return None
        return f"{source} matches no series: {self._prometheus.why_empty(of_calls or source)}", "correct the query"

    def _not_grown(self, source: str, selector: Selector) -> Why | None:
        """Whether an average, or a least one, would be made of series too that did not grow: those of earlier scenarios stand."""
        weighs = SPREAD & set(selector.functions)
        if not weighs:
            return None
        idle = self._prometheus.number(f"count({source} == {source} @ {self._began:.3f})")
        why = (
            f"{idle:.0f} series of {selector.metric} did not grow in this scenario, and nobody knows whether {min(weighs)}(…) "
            "is to be of these too"
        )
        return (why, "ask for a sum(…), or for a max(…)") if idle else None

    def _unknown_growth(self, source: str, selector: Selector, now: float) -> Why | None:
        """Whether series of a counter ended, or began anew, so that what they grew by is not known."""
        if selector.window is not None:
            shift = int((selector.window + selector.back) * 1000)
            young = self._prometheus.number(f"count({source} unless {source} offset {shift}ms)")
            why = f"{young:.0f} series of {selector.metric} are younger than the window, and what they began with is not counted"
            return (why, f"write {source} without a window: {_COUNTS}") if young else None
        since = f"{source}[{int((now - self._began) * 1000) + 1}ms] @ {now:.3f}"
        before = self._prometheus.query(f"count by (instance) ({source} @ {self._began:.3f} unless {source})")
        ended = ended_of(before, self._there, self._prometheus.last_scrapes(self._proxies.sidecars.scraped))
        ended += self._prometheus.number(
            f"count(last_over_time({since}) unless {source} unless {source} @ {self._began:.3f})"
        )
        anew = self._prometheus.number(f"sum(resets({since}))")
        why = f"{ended:.0f} series of {selector.metric} ended in this scenario, and {anew:.0f} began anew"
        return (why, "keep the pods while it runs") if ended or anew else None


def _pods(names: Iterable[str]) -> str:
    return " and ".join(f"pod {name}" for name in names)


def _out_of_reach(query: Query, counters: set[str], age: float) -> Why | None:
    """Whether a query tells also of the time before its scenario, and what to write instead."""
    for selector in query.selectors:
        source = query.source(selector)
        if not selector.metric:
            return f"nobody knows whether {source} is a counter", "write the metric's name before the braces"
        if selector.metric not in counters:
            continue
        if selector.window is None and (selector.back or query.back):
            return f"{source} is a counter, looked at in the past", f"write {source} alone: {_COUNTS}"
        if selector.window is not None and not GROWTH & set(selector.functions[-1:]):
            return f"{source}[…] tells of the counter's whole life", f"write {source} alone: {_COUNTS}"
    if query.reach > age:
        far = f"{query.reach:g} s" if math.isfinite(query.reach) else "to another time"
        action = f"take a shorter window, wait for it («within …»), or write a counter without one: {_COUNTS}"
        return f"it looks back {far}, and the scenario began {age:.1f} s ago", action
    return None
