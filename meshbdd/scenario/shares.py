"""What of the calls that proxies counted is one service's, by what is logged of them. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from meshbdd.intents import ServiceRef
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.shared_pods import whom_made_to
from meshbdd.units import counted as number_of


@dataclass(frozen=True, slots=True)
class Logged:
    """The calls of a pair that are logged since the scenario began.

    Attributes:
        calls: How many.
        foreign: How many of them are of none of the scenario's requests: sent by claims, or by an earlier scenario.
        silent: Whether nothing at all is logged, so that the counters are all there is.
    """

    calls: int
    foreign: int
    silent: bool = False

    def is_whole(self, counted: int) -> bool:
        """Whether as many calls are logged as were counted; logs come later than counts."""
        return self.silent or self.calls >= counted

    def least(self, counted: int) -> int:
        """How many of the counted calls are the scenario's at least: what is not logged may be anybody's."""
        unlogged = 0 if self.silent else max(0, counted - self.calls)
        return max(0, counted - self.foreign - unlogged)

    def most(self, counted: int) -> int:
        """The same at most: of calls that ended just when counting began, some are logged and not counted."""
        uncounted = max(0, self.calls - counted)
        return counted - max(0, self.foreign - uncounted)


@dataclass(frozen=True, slots=True)
class Share:
    """What of the counted calls is the service's.

    Attributes:
        calls: How many.
        by_policy: ``connection_security_policy`` → how many.
        logged: What is logged of them.
        unknown: Why nobody can tell how many they are; empty where that is known.
        mixed: Why nobody can tell how they came; empty where that is known.
    """

    calls: int
    by_policy: Counter[str]
    logged: Logged
    unknown: str = ""
    mixed: str = ""


def share_of(
    service: ServiceRef,
    beside: Collection[str],
    by_policy: Counter[str],
    came: Iterable[Entry],
    everything: Iterable[Entry],
    counts: Callable[[str], bool],
) -> Share:
    """The share of a service in the calls to pods that other Services select too.

    A proxy counts all that comes to a port of its pod by the name of one Service. The logs tell whom each call was made to: where
    they have exactly as many calls as were counted, by whatever name, they have the same calls.

    Args:
        service: The service.
        beside: The full names of the others.
        by_policy: ``connection_security_policy`` → how many calls of the caller's were counted at these pods, by any of the names.
        came: The calls of the caller's that came to these pods, as their proxies logged them.
        everything: The logs of both sides.
        counts: Whether a request id is of one of the scenario's requests.
    """
    made = whom_made_to(came, everything, {service.host, *beside})
    own = [entry for entry, hosts in made if service.host in hosts]
    logged = Logged(len(own), sum(not counts(entry.request_id) for entry in own))
    total = by_policy.total()
    if len(made) != total:
        why = f"{number_of(total, 'call was', 'calls were')} counted there, and {len(made)} logged"
        return Share(0, Counter(), logged, unknown=why)
    if not all(hosts for _, hosts in made):
        return Share(0, Counter(), logged, unknown="the access logs do not tell of each call whom it was made to")
    if len(own) == total:
        return Share(total, +by_policy, logged)
    if len(+by_policy) > 1 and own:
        told = " and ".join(f"{number} × {policy}" for policy, number in sorted((+by_policy).items()))
        return Share(len(own), Counter(), logged, mixed=f"calls to more than one of these were counted, {told}")
    return Share(len(own), Counter(dict.fromkeys(+by_policy, len(own)) if own else {}), logged)
