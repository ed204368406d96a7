"""The calls between services since a scenario began, as the proxies' access logs tell them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from meshbdd.claims.calls import Call
from meshbdd.intents import ServiceRef
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.settling import settled
from meshbdd.scenario.traffic import Traffic
from meshbdd.scenario.witnesses import Witnesses
from meshbdd.telemetry.access_log import AccessLogs, Entry
from meshbdd.telemetry.proxies import Proxies

_LOGGED = re.compile(r"\S+ (?:gives up on|calls) \S+ |the circuit to \S+ |a slow \S+ does not slow ")


class CallLog:
    """The logs of every proxy, from a scenario's beginning on.

    Args:
        environment: What the run shares.
        traffic: The scenario's requests.
        steps: The texts of the scenario's steps: where one will ask for calls, counting begins here.

    Attributes:
        proxies: The proxies that write them.
        witnesses: The pods that they belong to.
    """

    def __init__(self, environment: Environment, traffic: Traffic, steps: Iterable[str]) -> None:
        self._environment = environment
        self._traffic = traffic
        self.proxies = Proxies(environment.cluster, environment.mesh.sidecars)
        self._logs = AccessLogs(environment.cluster, environment.mesh.sidecars)
        asked = any(_LOGGED.match(text) for text in steps)
        self.witnesses = Witnesses(traffic, self.proxies, asked=asked)
        if asked:
            environment.wait_still()
            self._logs.mark()

    def close(self) -> None:
        """Close the ways to the proxies."""
        self.proxies.close()

    def entries(self) -> list[Entry]:
        """What was logged so far, but for probes and for what earlier scenarios sent."""
        earlier = self._environment.sent.are_earlier
        return [entry for entry in self._logs.since_mark() if not (entry.probe or earlier(entry.request_id))]

    def settled(self) -> list[Entry]:
        """The same once nothing comes any more; with a load on, once it must be there."""
        return settled(self._environment, self.entries, loading=self._traffic.loading)

    def calls_to(self, service: ServiceRef) -> list[Call]:
        """The calls to a service that were logged so far."""
        return calls_to(service, self.entries())

    def settled_calls_to(self, service: ServiceRef) -> list[Call] | None:
        """All calls to a service; ``None`` where the proxies log nothing at all."""
        entries = self.settled()
        return calls_to(service, entries) if entries else None


def calls_to(service: ServiceRef, entries: Iterable[Entry]) -> list[Call]:
    """The calls to a service, as its callers' proxies saw them."""
    return [call_of(entry) for entry in entries if entry.outbound and entry.service == service.host]


def call_of(entry: Entry) -> Call:
    """A line of a log as a call."""
    return Call(
        entry.pod, entry.request_id, entry.started, entry.seconds, entry.status, entry.flags, bool(entry.upstream)
    )
