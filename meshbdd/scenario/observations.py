"""What a scenario asks the mesh itself: proxies, certificates, metrics, logs and Prometheus, since it began."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Iterable

from meshbdd.claims import Outcome, Verdict, mesh
from meshbdd.errors import BadInput, NotPossible
from meshbdd.intents import ServiceRef
from meshbdd.load import Sample
from meshbdd.mesh.abilities import Ability
from meshbdd.scenario.arrivals import arrivals, untold_arrivals
from meshbdd.scenario.call_log import COUNTED, CallLog
from meshbdd.scenario.counting import Counting
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.kept_away import kept_away
from meshbdd.scenario.needs import needs
from meshbdd.scenario.plaintext import ask_in_plaintext
from meshbdd.scenario.queries import Queries
from meshbdd.scenario.settling import or_nothing
from meshbdd.scenario.traces import trace_reaches
from meshbdd.scenario.traffic import Traffic
from meshbdd.scenario.unmeshed import told_by_half
from meshbdd.sidecars import LINKERD
from meshbdd.telemetry import certificates
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.pod_names import known_to
from meshbdd.telemetry.proxies import Object, address_of
from meshbdd.units import Duration
from meshbdd.waiting import NotYet

_RENEWED_BEFORE = 0.3 * 24 * 3600
"""Seconds before its end at which linkerd-proxy renews a certificate of the usual 24 h: linkerd2-proxy
linkerd/proxy/identity-client/src/certify.rs, linkerd2 charts/linkerd-control-plane/values.yaml."""


class Observations:
    """The mesh as one scenario sees it.

    Args:
        environment: What the run shares.
        traffic: The scenario's requests.
        log: What the proxies logged since it began.
        service: Reads a service as the tester names it.
        steps: The texts of the scenario's steps: what will be asked is counted from here on.
    """

    def __init__(
        self,
        environment: Environment,
        traffic: Traffic,
        log: CallLog,
        service: Callable[[str], ServiceRef],
        steps: Iterable[str],
    ) -> None:
        self._environment = environment
        self._traffic = traffic
        self._log = log
        self._proxies = log.proxies
        texts = list(steps)
        said = [pair for text in texts for pair in COUNTED.findall(text)]
        pairs = list(dict.fromkeys((service(source), service(target)) for source, target in said))
        self._counting = Counting(traffic, log, pairs, self._inbound)
        self._queries = Queries(environment, traffic, log, texts)

    def query_not_taken(self) -> tuple[int, BadInput] | None:
        """Which step asks Prometheus what is no query, and why."""
        return self._queries.not_taken()

    def before_first_change(self) -> None:
        """What is to be compared with was asked: queries count from here on."""
        self._queries.begin_anew()

    # Proxies

    @needs(Ability.SIDECARS)
    def sidecars(self, service: ServiceRef) -> Verdict:
        """Every pod of a service has a sidecar."""
        views = self._proxies.views(service)
        without = {view.name: view.why for view in views if not view.meshed}
        return mesh.every_pod_has_a_sidecar(str(service), without, len(views))

    def _meshed(self, service: ServiceRef) -> list[Object]:
        return self._proxies.meshed(service)

    # Security

    @needs(Ability.TLS_COUNTERS)
    def mutual_tls(self, source: ServiceRef, target: ServiceRef) -> Verdict:
        """All calls from one service to another since the scenario began came over mutual TLS."""
        verdict = self._counting.mutual_tls(source, target)
        return self._log.witnesses.whole(verdict, source, target, unless=Outcome.FAILED)

    @needs(Ability.PLAINTEXT)
    def rejects_plaintext(self, service: ServiceRef) -> Verdict:
        """No endpoint of a service answers a client outside the mesh, and each HTTP port answers one inside."""
        denied = self._denied if self._proxies.sidecars is LINKERD else lambda _service, _sample: False
        return ask_in_plaintext(
            service, self._environment.cluster, self._proxies, self._traffic, lambda sample: denied(service, sample)
        )

    def _denied(self, service: ServiceRef, sample: Sample) -> bool:
        """Whether a proxy of a service logged that it denied a request, as Linkerd's do with plaintext.

        On Istio a 403 means that plaintext got in: strict mutual TLS answers nothing, and policies judge what it let through.
        """
        pods = {str(pod["metadata"]["name"]) for pod in self._meshed(service)}

        def probe() -> bool:
            logged = known_to(service, self._log.everything())
            entries = [e for e in logged if e.pod in pods and e.request_id == sample.request_id]
            if not entries:
                raise NotYet("not logged")
            return any(entry.denied for entry in entries)

        return or_nothing(probe, lambda: False)

    @needs(Ability.CERTIFICATES)
    def certificate_valid(self, service: ServiceRef, wanted: Duration) -> Verdict:
        """The certificates of a service's proxies are valid for so much longer."""
        now = dt.datetime.now(dt.UTC)
        found = [certificates.of_pod(self._proxies, pod) for pod in self._meshed(service)]
        left = {certificate.pod: (certificate.expires - now).total_seconds() for certificate in found}
        return mesh.certificate_is_valid(str(service), left, wanted)

    @needs(Ability.ROTATION)
    def certificate_rotates(self, service: ServiceRef, limit: Duration) -> Verdict:
        """Every proxy of a service gets another certificate in time."""
        self._refuse_far_renewal(service, limit)
        began = time.monotonic()
        before = self._serials(service)
        last: dict[str, str] = {}

        def probe() -> None:
            last.clear()
            last.update(self._serials(service))
            if any(last.get(pod) == serial for pod, serial in before.items()):
                raise NotYet("the same serial numbers")

        or_nothing(probe, lambda: None, limit)
        return mesh.certificate_rotated(str(service), before, last, time.monotonic() - began, limit)

    def _refuse_far_renewal(self, service: ServiceRef, limit: Duration) -> None:
        """Linkerd's control plane gives all proxies certificates of one lifetime; a proxy may renew its own sooner.

        One whose environment says when it renews is taken at its word: if that is too late, the claim about it is false.

        Raises:
            NotPossible: of a proxy nobody said when it renews, and it will not in time.
        """
        if self._proxies.sidecars is not LINKERD:
            return
        usual = [pod for pod in self._meshed(service) if certificates.renewed_within(pod) is None]
        found = [certificates.of_pod(self._proxies, pod).expires for pod in usual]
        left = max(((at - dt.datetime.now(dt.UTC)).total_seconds() for at in found), default=0.0)
        if left > _RENEWED_BEFORE + limit.seconds:
            raise NotPossible(
                "MB0455",
                f"A certificate of {service} cannot be seen to rotate within {limit}: its proxy renews it at 70 % of the lifetime "
                f"that the control plane gives to all, and this one is valid for {left / 3600:.1f} h more.",
                help="let it renew sooner: LINKERD2_PROXY_IDENTITY_MAX_REFRESH in the pod's annotation "
                "config.linkerd.io/proxy-additional-env, as in docs/linkerd.md",
            )

    def _serials(self, service: ServiceRef) -> dict[str, str]:
        found = [certificates.of_pod(self._proxies, pod) for pod in self._meshed(service)]
        return {certificate.pod: certificate.serial for certificate in found}

    # Telemetry

    @needs(Ability.COUNTERS)
    def reported(self, source: ServiceRef, target: ServiceRef, wanted: int) -> Verdict:
        """The proxies counted at least so many requests from one service to another since the scenario began."""
        verdict = told_by_half(self._counting.reported(source, target, wanted), target, self._proxies)
        return self._log.witnesses.whole(verdict, source, target, unless=Outcome.PASSED)

    def _inbound(self, service: ServiceRef) -> list[Entry]:
        """What the proxies of a service logged of the scenario's calls to it; a refused connection is no call."""
        return [
            entry
            for entry in arrivals(service, known_to(service, self._log.everything()), self._proxies)
            if not entry.probe
            and self._traffic.counts(entry.request_id)
            and (entry.request_id or entry.path or entry.status)
        ]

    def _untold(self, service: ServiceRef) -> list[Entry]:
        """The mirrored copies of the scenario's calls that may have been sent to a service, or to another one of its pods."""
        logged = untold_arrivals(service, known_to(service, self._log.everything()), self._proxies)
        return [entry for entry in logged if self._traffic.counts(entry.request_id)]

    def _with_untold(self, verdict: Verdict, service: ServiceRef, copies: int) -> Verdict:
        others = sorted(self._proxies.beside(service)) if copies else ()
        return mesh.with_untold_copies(verdict, str(service), others, copies)

    @needs(Ability.ACCESS_LOG)
    def logged(self, service: ServiceRef, wanted: int, status: int) -> Verdict:
        """The access logs of a service have at least so many requests with a status since the scenario began."""
        statuses: list[int] = []

        def probe() -> None:
            statuses[:] = [entry.status for entry in self._inbound(service)]
            if statuses.count(status) < wanted:
                raise NotYet(str(len(statuses)))

        why_not = "" if self._proxies.receiving(service) else "no pod of it has a sidecar"
        self._traffic.wait_met()
        if not why_not:
            or_nothing(probe, lambda: None)
        ended, came = self._kept_away(service)
        verdict = mesh.log_has(
            str(service),
            wanted,
            status,
            statuses,
            why_not,
            sent=self._traffic.has_sent,
            ended=ended,
            unread=came.total(),
        )
        verdict = self._traffic.met(verdict)
        verdict = told_by_half(verdict, service, self._proxies)
        untold = sum(entry.status == status for entry in self._untold(service))
        if statuses.count(status) + untold >= wanted or not statuses:
            verdict = self._with_untold(verdict, service, untold)
        return self._log.witnesses.whole(verdict, service, unless=Outcome.PASSED)

    def _kept_away(self, service: ServiceRef) -> tuple[Counter[str], Counter[str]]:
        logged = known_to(service, self._log.everything())
        made = [entry for entry in logged if not entry.probe and self._traffic.counts(entry.request_id)]
        return kept_away(service, made, {address_of(pod) for pod in self._proxies.pods(service)})

    @needs(Ability.TRACES)
    def trace_reaches(self, service: ServiceRef) -> Verdict:
        """The trace context of the scenario's requests arrives with the calls that a service gets."""
        verdict = trace_reaches(service, self._traffic, self._log, self._inbound, self._environment.sent.are_ours)
        return self._with_untold(verdict, service, len(self._untold(service)))

    # Prometheus

    @needs(Ability.PROMETHEUS)
    def query(self, promql: str, relation: str, wanted: float, within: Duration | None = None) -> Verdict:
        """The one number that a query gives stands in a relation to another, now or within some time."""
        limit = f" within {within}" if within else ""
        claim = f'the query "{promql}" is {relation} {wanted:g}{limit}'
        return self._queries.judge(claim, promql, relation, wanted, within)
