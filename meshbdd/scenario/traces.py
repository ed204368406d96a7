"""Where the trace context of a scenario's requests gets to, by the logs of the proxies there."""

from __future__ import annotations

from collections.abc import Callable

from meshbdd.claims import Outcome, Verdict
from meshbdd.claims.traces import Unlogged, trace_id, trace_reached
from meshbdd.intents import ServiceRef
from meshbdd.scenario.call_log import CallLog
from meshbdd.scenario.sent_ids import trace_of
from meshbdd.scenario.settling import or_nothing
from meshbdd.scenario.traffic import Traffic
from meshbdd.scenario.unmeshed import answering
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.pod_names import known_to
from meshbdd.telemetry.proxies import address_of
from meshbdd.waiting import NotYet


def trace_reaches(
    service: ServiceRef,
    traffic: Traffic,
    log: CallLog,
    inbound: Callable[[ServiceRef], list[Entry]],
    are_ours: Callable[[str], bool],
) -> Verdict:
    """Whether the trace context of the scenario's requests arrives with the calls that a service gets.

    Args:
        service: The service.
        traffic: The scenario's requests.
        log: What the proxies logged since it began.
        inbound: What the proxies of a service logged of the scenario's calls to it.
        are_ours: Whether a request id is the scenario's.
    """
    sent, loading = traffic.traces(), traffic.loading
    entries: list[Entry] = []

    def keeps_trace(entry: Entry) -> bool | None:
        """Whether a call that was made for a request of the scenario bears its trace; ``None`` where that cannot be told."""
        if entry.traceparent is None or not are_ours(entry.request_id):
            return None
        return trace_id(entry.traceparent) == trace_of(entry.request_id)

    def verdict() -> Verdict:
        lost = sum(keeps_trace(entry) is False for entry in entries)
        parents = [entry.traceparent for entry in entries]
        return trace_reached(
            str(service), sent, parents, lost, loading=loading, unlogged=_unlogged(service, traffic, log)
        )

    def probe() -> None:
        known = set(sent)
        # a load beside the step has traces of its own, which are no others'
        entries[:] = [e for e in inbound(service) if not keeps_trace(e) or trace_of(e.request_id) in known]
        if verdict().outcome != "passed":
            raise NotYet(str(len(entries)))

    if sent and log.proxies.receiving(service):
        or_nothing(probe, lambda: None)
    met = traffic.met(verdict(), [sample.request_id for sample in traffic.samples])
    return log.witnesses.whole(met, service, unless=Outcome.PASSED)


def _unlogged(service: ServiceRef, traffic: Traffic, log: CallLog) -> Unlogged:
    """What nobody could log of the calls to a service; which of them went to a pod without a proxy, its callers' may tell."""
    bare = answering(service, log.proxies)
    if not bare:
        return Unlogged()
    addresses = {address_of(pod) for pod in bare}
    past = [
        entry
        for entry in known_to(service, log.everything())
        if entry.outbound
        and entry.service == service.host
        and entry.upstream.rpartition(":")[0] in addresses
        and traffic.counts(entry.request_id)
    ]
    names = sorted(str(pod["metadata"]["name"]) for pod in bare)
    return Unlogged(names, bool(log.proxies.receiving(service)), len(past))
