"""The calls of one service to another, and the tries of them, by the logs of both sides and wherever rules led them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from meshbdd.claims import Outcome, Verdict
from meshbdd.intents import ServiceRef
from meshbdd.scenario.arrivals import arrivals
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.asked import Names
from meshbdd.telemetry.forwarded import key_of
from meshbdd.telemetry.pod_names import known_to
from meshbdd.telemetry.proxies import Proxies, address_of, has_proxy


@dataclass(frozen=True, slots=True)
class Between:
    """What the proxies logged of the calls of one service to another.

    Attributes:
        made: The calls, as the caller's proxies logged them: one for each that the application made.
        came: The tries, as the proxies logged them to which they came; no mirrored copies.
        own: Whether some were sent to the callee's own endpoints.
        elsewhere: The other Services to which rules led some.
        bare: The pods without a proxy to which rules led some: nobody counts the tries there.
    """

    made: Sequence[Entry]
    came: Sequence[Entry]
    own: bool
    elsewhere: Sequence[ServiceRef] = ()
    bare: Sequence[str] = ()

    def counted(self, verdict: Verdict, callee: ServiceRef, *, unless: Outcome) -> Verdict:
        """A verdict on tries, of which pods without a proxy may have got more.

        Args:
            verdict: What the proxies tell.
            callee: Whom the calls were made to.
            unless: The outcome that further tries leave as it is.
        """
        if verdict.outcome in {unless, Outcome.INCONCLUSIVE} or not self.bare:
            return verdict
        return replace(
            verdict,
            outcome=Outcome.INCONCLUSIVE,
            sentence=f"{verdict.sentence}; but a rule led calls to {callee} to {self.bare[0]}, which has no sidecar that counts tries",
            help=f"give {self.bare[0]} a sidecar",
        )


def between(caller: ServiceRef, callee: ServiceRef, logged: Sequence[Entry], proxies: Proxies, names: Names) -> Between:
    """The calls of one service to another.

    A call is to whom it asks for; where it asks for no Service, to whom it was led. The logs of both sides have its id and whom it
    asks for in common. Where the caller made calls that look alike to several services, those are the callee's that came to its pods.

    Args:
        caller: Who calls.
        callee: Who is called.
        logged: The logs of every proxy.
        proxies: The way to the pods.
        names: The Services.
    """
    pods = {str(pod["metadata"]["name"]): pod for pod in proxies.pods(caller)}
    addresses = {address_of(pod) for pod in pods.values()}
    sent = [entry for entry in known_to(caller, logged) if entry.outbound and entry.pod in pods]
    called: dict[tuple[str, str], set[str]] = defaultdict(set)
    for entry in sent:
        called[key_of(entry)].add(names.called(entry))
    known = known_to(callee, logged)
    here = set(arrivals(callee, known, proxies))

    def is_its(entry: Entry) -> bool:
        hosts = called.get(key_of(entry), set())
        if len(hosts) > 1 or not hosts:
            named = "" if hosts else names.named(entry.authority, caller.namespace)
            return named == callee.host if named else entry in here
        return callee.host in hosts

    made = [entry for entry in sent if names.called(entry) == callee.host]
    away = [entry for entry in made if _led_to(entry) != callee.host]
    elsewhere = names.services(map(_led_to, away))
    return Between(
        made,
        [e for e in known if not e.outbound and not e.copied and e.came_from in addresses and is_its(e)],
        any(entry.upstream and _led_to(entry) == callee.host for entry in made),
        elsewhere,
        _bare({entry.upstream.rpartition(":")[0] for entry in away}, elsewhere, proxies),
    )


def _led_to(entry: Entry) -> str:
    return entry.backend or entry.service


def _bare(addresses: Collection[str], services: Iterable[ServiceRef], proxies: Proxies) -> list[str]:
    pods = (pod for service in services for pod in proxies.pods(service))
    return sorted(str(pod["metadata"]["name"]) for pod in pods if address_of(pod) in addresses and not has_proxy(pod))
