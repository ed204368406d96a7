"""Fault accounting: what the proxies say a fault met. A fault that met no call proves nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable

from meshbdd.errors import Inconclusive
from meshbdd.evidence import FaultAccounted
from meshbdd.intents import ServiceRef
from meshbdd.scenario.changes import InForce
from meshbdd.scenario.environment import Environment
from meshbdd.telemetry.access_log import AccessLogs, Entry
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually

_LOG_SECONDS = Duration(2)
LOG_FLUSH_SECONDS = 0.07
"""A log that did not grow for so long is complete: the lab's sidecars flush theirs every 50 ms."""
GROWING_SECONDS = 0.5
"""A log that still grows after so long belongs to a load that goes on; what ended before holds it by now."""


class Accounting:
    """Holds the traffic of one scenario against what the sidecars logged of it.

    Args:
        environment: What the run shares.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._logs = AccessLogs(environment.cluster)

    def mark(self) -> None:
        """What was logged until now is of no interest any more."""
        self._logs.mark()

    def account(self, items: Iterable[InForce]) -> None:
        """See that each fault met a call while traffic ran.

        Raises:
            Inconclusive: one met none, so no claim about it means anything.
        """
        for item in items:
            if not item.accounted and item.requests and item.plan.service and item.plan.markers and any(item.plan.tags):
                item.accounted = True
                self._account(item, item.plan.service)

    def _account(self, item: InForce, service: ServiceRef) -> None:
        calls = self._calls(item, service)
        tags = tuple(tag for tag in item.plan.tags if tag)
        hit = [entry for entry in calls if entry.injected and entry.route.startswith(tags)]
        callers = {
            pod: (sum(e.pod == pod for e in calls), sum(e.pod == pod for e in hit))
            for pod in sorted({entry.pod for entry in calls})
        }
        flags = tuple(sorted({flag for entry in hit for flag in entry.flags}))
        self._environment.tell(FaultAccounted(item.plan.summary, str(service), len(calls), len(hit), flags, callers))

    def _calls(self, item: InForce, service: ServiceRef) -> list[Entry]:
        """The calls to a service, once the logs have stopped growing."""
        host = f"{service.name}.{service.namespace}.svc.cluster.local"
        seen: list[tuple[float, int]] = []

        def probe() -> list[Entry]:
            calls = [entry for entry in self._logs.since_mark() if entry.outbound and entry.service == host]
            now = time.monotonic()
            if not seen or seen[-1][1] != len(calls):
                seen.append((now, len(calls)))
            grows = now - seen[-1][0] < LOG_FLUSH_SECONDS and now - seen[0][0] < GROWING_SECONDS
            if not calls:
                raise NotYet(f"no sidecar logged a call to {service}")
            if grows:
                raise NotYet(f"{len(calls)} calls so far")
            return calls

        return eventually(
            probe,
            what=f"A call to {service} while «{item.plan.summary}» was in force",
            within=_LOG_SECONDS,
            code="MB0603",
            failure=Inconclusive,
            help="send requests that make its callers call it; a fault that meets no call proves nothing",
        )

    def faulted(self) -> dict[str, str]:
        """Request id → what was injected into which of its calls, as the sidecars logged it."""
        return {
            entry.request_id: f"{entry.service.partition('.')[0]}, response flag {','.join(sorted(entry.flags))}"
            for entry in self._logs.since_mark()
            if entry.outbound and entry.injected
        }

    def denied(self, request_id: str) -> bool | None:
        """Whether a sidecar says that an authorization policy denied a request; ``None`` where none logged it."""
        entries: list[Entry] = []

        def probe() -> None:
            entries[:] = [entry for entry in self._logs.since_mark() if entry.request_id == request_id]
            if not any(entry.denied for entry in entries):
                raise NotYet(f"{len(entries)} sidecars logged {request_id}, and none says so")

        try:
            eventually(probe, what=f"The denial of {request_id}", within=_LOG_SECONDS, failure=Inconclusive)
        except Inconclusive:
            return False if entries else None
        return True
