"""Mirrored copies of requests, by the logs of the pods that served them. Pure functions.

Istio has a copy bear the request's own id and host (``disable_shadow_host_suffix_append``), but the caller's proxy appends an
address to its ``X-Forwarded-For`` (Envoy's source/common/http/async_client_impl.cc, ``send_xff``); that of a further try is
the request's own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from meshbdd.claims import Outcome, Verdict
from meshbdd.claims.calls import Call
from meshbdd.telemetry.access_log import Entry
from meshbdd.units import counted


@dataclass(frozen=True, slots=True)
class Copies:
    """Which pods of a service served copies; a copy is a request of its own.

    Attributes:
        alone: Id and pod of each copy that came to another pod than the request.
        both: Id and pod where a request and its copy, or several copies, came to one pod: their calls cannot be told apart.
    """

    alone: Collection[tuple[str, str]] = ()
    both: Collection[tuple[str, str]] = ()

    @property
    def mixed(self) -> set[str]:
        """The names of the requests whose calls cannot be told from those for their copies."""
        return {self.name(*request) for request in self.both}

    def name(self, request_id: str, pod: str) -> str:
        """What the calls are for that a pod makes with this id."""
        if (request_id, pod) in self.alone:
            return f"{request_id} (mirrored, at {pod})"
        return f"{request_id} (and its copy, at {pod})" if (request_id, pod) in self.both else request_id

    def apart(self, call: Call, caller: str) -> Call:
        """What a pod calls for a copy of a request is none of the calls for the request itself."""
        return replace(call, request_id=self.name(call.request_id, caller))

    def told(self, verdict: Verdict) -> Verdict:
        """A verdict on the calls for the others: what holds of those may not hold of the mixed ones."""
        if verdict.outcome is not Outcome.PASSED or not self.both:
            return verdict
        copies = "its mirrored copy" if len(self.both) == 1 else "their mirrored copies"
        return replace(
            verdict,
            outcome=Outcome.INCONCLUSIVE,
            sentence=f"{verdict.sentence}; but {counted(len(self.both), 'request')} came to one pod together with {copies}, "
            "and nobody can tell which calls were made for which",
            help="mirror to pods that get no other requests",
        )


def copies_among(served: Iterable[Entry]) -> Copies:
    """The copies among what the pods of one service served."""
    of_request: dict[str, list[Entry]] = defaultdict(list)
    for entry in served:
        if entry.request_id:
            of_request[entry.request_id].append(entry)
    alone, both = set[tuple[str, str]](), set[tuple[str, str]]()
    for request_id, same in of_request.items():
        own = min(map(_hops, same))
        number = Counter(entry.pod for entry in same)
        for pod in {entry.pod for entry in same if _hops(entry) > own}:
            (both if number[pod] > 1 else alone).add((request_id, pod))
    return Copies(alone, both)


def _hops(entry: Entry) -> int:
    """How many addresses its ``X-Forwarded-For`` has."""
    return len(entry.forwarded.split(",")) if entry.forwarded else 0
