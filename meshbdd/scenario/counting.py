"""What proxies counted of the calls from one service to another since a scenario began, without those that claims sent."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from meshbdd.claims import Verdict, mesh
from meshbdd.errors import BadInput, Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.scenario.arrivals import arrivals, came_in
from meshbdd.scenario.call_log import CallLog
from meshbdd.scenario.settling import or_nothing
from meshbdd.scenario.shares import Logged, Share, share_of
from meshbdd.scenario.traffic import Traffic
from meshbdd.sidecars import LINKERD
from meshbdd.telemetry import metrics
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.pod_names import known_to
from meshbdd.telemetry.proxies import Object, address_of
from meshbdd.waiting import NotYet


class Counting:
    """The counters of calls between services.

    Args:
        traffic: The scenario's requests.
        log: What the proxies logged since it began.
        pairs: Callers and callees that will be asked about: what was counted until now is not the scenario's.
        inbound: What a service's proxies logged of the scenario's calls to it.
    """

    def __init__(
        self,
        traffic: Traffic,
        log: CallLog,
        pairs: Iterable[tuple[ServiceRef, ServiceRef]],
        inbound: Callable[[ServiceRef], Iterable[Entry]],
    ) -> None:
        self._traffic = traffic
        self._log = log
        self._proxies = log.proxies
        self._inbound = inbound
        self._before: dict[tuple[ServiceRef, ServiceRef], Counter[metrics.Requests]] = {}
        self._others: dict[ServiceRef, frozenset[str]] = {}
        for pair in pairs:
            with contextlib.suppress(BadInput):  # a name that nobody has: the step says so, when its turn comes
                self._others[pair[1]] = self._proxies.beside(pair[1])
                self._before[pair] = self._counters(*pair)

    def mutual_tls(self, source: ServiceRef, target: ServiceRef) -> Verdict:
        """All calls from one service to another since the scenario began came over mutual TLS."""
        seen, whole = mesh.Security({}), False

        def probe() -> None:
            nonlocal seen, whole
            seen, whole = self._security(source, target)
            if not seen.by_policy or seen.uncounted or not whole:
                raise NotYet("not all calls counted")

        self._refuse_namesakes(source)
        self._traffic.wait_met()
        or_nothing(probe, lambda: None)
        ids = [entry.request_id for entry in self._calls(source, target, "destination")]
        return self._traffic.met(mesh.uses_mutual_tls(str(source), str(target), seen), ids)

    def _beside(self, target: ServiceRef) -> frozenset[str]:
        """The full names of the other Services that select the callee's pods, or did when counting began."""
        return self._proxies.beside(target) | self._others.get(target, frozenset())

    def _share(self, source: ServiceRef, target: ServiceRef, lines: Mapping[metrics.Requests, int]) -> Share:
        """What of that which the callee's proxies counted of the caller's calls were calls to the callee.

        Args:
            source: The caller.
            target: The callee.
            lines: What was counted of the caller's calls.
        """
        by_policy: Counter[str] = Counter()
        for line, number in lines.items():
            if line.reporter == "destination":
                by_policy[line.security] += number
        others = self._beside(target)
        if not others:
            return Share(by_policy.total(), by_policy, self._logged(source, target, "destination"))
        everything = self._log.everything()
        callers = {address_of(pod) for pod in self._proxies.meshed(source)}
        came = [e for e in came_in(target, known_to(target, everything), self._proxies) if e.came_from in callers]
        return share_of(target, others, by_policy, came, everything, self._traffic.counts)

    def _together(self, target: ServiceRef, why: str) -> str:
        """That calls to the callee and to others of its pods are counted together, and why they cannot be told apart, if so."""
        return mesh.counted_together(str(target), sorted(self._beside(target)), why) if why else ""

    def _security(self, source: ServiceRef, target: ServiceRef) -> tuple[mesh.Security, bool]:
        """How the calls came, and whether as much is logged as was counted."""
        counted = self._since(source, target)
        lines = self._made_by(self._proxies.pods(source), counted)
        share = self._share(source, target, lines)
        found, total, together = Counter(share.by_policy), share.calls, share.unknown or share.mixed
        passed_on = self._made_by(self._proxies.fault_backends(target), counted)
        bare_on = sum(number for line, number in passed_on.items() if line.security != "mutual_tls")
        arrived = share.logged.most(total)
        found["mutual_tls"] -= min(total - arrived, found["mutual_tls"])
        sent = 0
        if self._proxies.sidecars is not LINKERD:  # whose proxies do not tell which calls reached an endpoint
            sent = sum(number for line, number in lines.items() if line.reporter == "source" and line.reached)
            sent = self._logged(source, target, "source", reached=True).most(sent)
        callers = {address_of(pod): str(pod["metadata"]["name"]) for pod in self._bare(source)}
        plain = [entry for entry in self._inbound(target) if entry.came_from in callers]
        bare = [str(pod["metadata"]["name"]) for pod in self._bare(target)]
        answered = self._answered(source, target)
        security = mesh.Security(
            +found,
            uncounted=0 if share.unknown else max(0, sent - arrived),
            plain=len(plain),
            bare=bare,
            bare_callers=sorted(callers.values()),
            bare_on=bare_on,
            unread=0 if total else answered.total(),
            to_bare={pod: answered[pod] for pod in bare if answered[pod]},
            together=self._together(target, together),
        )
        return security, not together and share.logged.is_whole(total)

    def _answered(self, source: ServiceRef, target: ServiceRef) -> Counter[str]:
        """Of the callee's pods → how many of the scenario's calls it answered, by the logs of the caller's proxies."""
        pods = {address_of(pod): str(pod["metadata"]["name"]) for pod in self._proxies.pods(target)}
        found: Counter[str] = Counter()
        for call in self._calls(source, target, "source"):
            pod = pods.get(call.upstream.rpartition(":")[0])
            if pod is not None and call.status > 0 and not call.flags and self._traffic.counts(call.request_id):
                found[pod] += 1
        return found

    def _bare(self, service: ServiceRef) -> list[Object]:
        """The running pods of a service without a proxy."""
        meshed = {pod["metadata"]["uid"] for pod in self._proxies.meshed(service)}
        return [pod for pod in self._proxies.pods(service) if pod["metadata"]["uid"] not in meshed]

    def _counters(self, source: ServiceRef, target: ServiceRef) -> Counter[metrics.Requests]:
        return metrics.requests_to(self._proxies, target, [source], self._beside(target))

    def _made_by(self, callers: Iterable[Object], counted: Mapping[metrics.Requests, int]) -> Counter[metrics.Requests]:
        """Those of the counted requests that some pods made."""
        names = {metrics.source_of(pod, self._proxies.sidecars) for pod in callers}
        return Counter({line: number for line, number in counted.items() if line.source in names})

    def _refuse_namesakes(self, source: ServiceRef) -> None:
        """See that the proxies count a caller's requests apart from others': Linkerd's know it by its service account.

        Raises:
            Inconclusive: another pod has that account.
        """
        if self._proxies.sidecars is not LINKERD:
            return
        own = {str(pod["metadata"]["uid"]) for pod in self._proxies.pods(source)}
        names = {metrics.source_of(pod, LINKERD) for pod in self._proxies.pods(source)}
        for pod in self._proxies.every():
            if str(pod["metadata"]["uid"]) not in own and metrics.source_of(pod, LINKERD) in names:
                raise Inconclusive(
                    "MB0653",
                    f"Linkerd's proxies know callers by their service accounts, and {source} shares its own with pod "
                    f"{pod['metadata']['name']}: nobody can tell whose calls were counted.",
                    help="give it a service account of its own",
                )

    def _since(self, source: ServiceRef, target: ServiceRef) -> Counter[metrics.Requests]:
        """What was counted since the scenario began, whoever made it; a counter that fell began anew."""
        before = self._before.get((source, target)) or Counter()  # who was not there had counted nothing
        return Counter(
            {
                line: number - before[line] if number >= before[line] else number
                for line, number in self._counters(source, target).items()
                if number != before[line]
            }
        )

    def reported(self, source: ServiceRef, target: ServiceRef, wanted: int) -> Verdict:
        """The proxies counted at least so many requests from one service to another since the scenario began."""
        reporter, why_not = "destination", ""
        if not self._proxies.receiving(target):
            reporter = "source"
            if not self._proxies.meshed(source):
                why_not = f"neither {source} nor {target} has a sidecar that could count"
        elif not self._proxies.meshed(source):
            why_not = f"{source} has no sidecar, so nobody knows its calls by its name"
        seen = most = 0
        together = ""

        def probe() -> None:
            nonlocal seen, most, together
            theirs = self._made_by(self._proxies.pods(source), self._since(source, target))
            if reporter == "destination":
                share = self._share(source, target, theirs)
                counted, logged, together = share.calls, share.logged, self._together(target, share.unknown)
            else:
                counted = sum(number for line, number in theirs.items() if line.reporter == reporter)
                logged = self._logged(source, target, reporter)
            seen, most = logged.least(counted), logged.most(counted)
            if seen < wanted:
                raise NotYet(str(seen))

        self._refuse_namesakes(source)
        self._traffic.wait_met()
        sent = self._traffic.has_sent
        if not why_not and sent:
            or_nothing(probe, lambda: None)
        unread = self._answered(source, target).total() if reporter == "destination" and not (why_not or most) else 0
        verdict = mesh.reports_requests(
            str(source),
            str(target),
            wanted,
            seen,
            most,
            sent=sent,
            reporter=reporter,
            why_not=why_not,
            unread=unread,
            together=together,
        )
        return self._traffic.met(verdict)

    def _logged(self, source: ServiceRef, target: ServiceRef, reporter: str, *, reached: bool = False) -> Logged:
        """What the logs tell of the calls.

        Args:
            source: The caller.
            target: The callee.
            reporter: Whose proxies' logs, ``source`` or ``destination``.
            reached: Whether only calls that got to an endpoint are meant.
        """
        calls = [c for c in self._calls(source, target, reporter) if c.upstream or not reached]
        foreign = sum(not self._traffic.counts(entry.request_id) for entry in calls)
        return Logged(len(calls), foreign, silent=not self._log.everything())

    def _calls(self, source: ServiceRef, target: ServiceRef, reporter: str) -> list[Entry]:
        """The calls, as the proxies of one side logged them."""
        entries = known_to(source if reporter == "source" else target, self._log.everything())
        if reporter == "source":
            pods = {str(pod["metadata"]["name"]) for pod in self._proxies.meshed(source)}
            return [e for e in entries if e.pod in pods and e.outbound and e.service == target.host]
        callers = {address_of(pod) for pod in self._proxies.meshed(source)}
        return [e for e in arrivals(target, entries, self._proxies) if e.came_from in callers]
