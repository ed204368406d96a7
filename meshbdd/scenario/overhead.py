"""What a sidecar costs: the same requests from a client with one and from one without, the same pod started with and without."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from meshbdd.claims import Outcome, Verdict
from meshbdd.claims.comparison import adds_less_than, grows_less_than
from meshbdd.claims.sequential import ALPHA
from meshbdd.intents import ServiceRef, Side
from meshbdd.load import Sample
from meshbdd.mesh import Plan
from meshbdd.mesh.abilities import Ability
from meshbdd.scenario.cold_start import start_once, template_of
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.needs import needs
from meshbdd.scenario.traffic import Traffic
from meshbdd.units import Duration

_LEAST = 200
_FEW_STARTS, _MANY_STARTS = 8, 21
"""Starts of a kind whose median has bounds at the confidence that a green verdict needs, and at that of a red one: all of
n lie on one side of it but for a probability of 2 to the power of -n on either side (``BETA``, ``ALPHA``)."""

_TURNS = 10
"""Both kinds are sent in so many turns, so that they meet the same moods of the machine."""


class Overhead:
    """The way to the evidence of what a sidecar costs.

    Args:
        environment: What the run shares.
        traffic: The scenario's requests.
        in_force: The changes that are in force.
    """

    def __init__(self, environment: Environment, traffic: Traffic, in_force: Callable[[], Iterable[Plan]]) -> None:
        self._environment = environment
        self._traffic = traffic
        self._in_force = in_force

    @needs(Ability.CLIENTS)
    def adds(self, limit: Duration, percent: float = 50.0) -> Verdict:
        """The sidecar of a client adds less than so much to a latency quantile of the last request that was sent."""
        of = "median" if percent == 50.0 else f"p{percent:g}"
        claim = f"the sidecar adds less than {limit} to the {of} latency"
        name = self._traffic.last_name
        if name is None:
            return Verdict.nothing_to_judge(claim)
        asked = self._traffic.sender.asked(name)
        for plan in self._in_force():
            if asked in plan.faulty and (plan.side is Side.CALLER or plan.callers is not None):
                return Verdict.cannot_tell(
                    f"{claim}: «{plan.summary}» is in force, and a client without a sidecar does not meet it",
                    "let it recover first",
                )
        # The lab's stand-in for kube-proxy is slower than the real one, whose work is done once a connection is open: it
        # would make a sidecar look cheap. So the client outside the mesh connects to the endpoints themselves.
        endpoints = self._traffic.sender.endpoints(name)
        if not endpoints:
            return Verdict.cannot_tell(
                f'{claim}: no endpoint of the Service that "{name}" asks is ready, so nobody can ask without a sidecar',
                "ask a Service that has ready pods",
            )
        block = math.ceil(requests_for(percent) / _TURNS)
        without: list[Sample] = []
        with_: list[Sample] = []
        for turn in range(_TURNS):
            without += self._traffic.own.measure(name, block, straight_to=endpoints[turn % len(endpoints)])
            with_ += self._traffic.own.measure(name, block)
        for where, samples in (("without", without), ("with", with_)):
            if failed := sum(not sample.succeeded for sample in samples):
                return Verdict.cannot_tell(
                    f'{claim}: {failed} of {len(samples)} "{name}" requests {where} a sidecar failed, so the two cannot be compared',
                    "let the request be answered with and without a sidecar: mutual TLS must not be strict",
                )
        return adds_less_than(claim, without, with_, limit, percent)

    @needs(Ability.SIDECARS)
    def cold_start(self, service: ServiceRef, limit: Duration) -> Verdict:
        """A pod of a service is ready less than so much later for its sidecar; the medians of copies that take no traffic."""
        claim = f"the sidecar adds less than {limit} to the cold start of {service}"
        template = template_of(self._environment.cluster, service)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for pairs in (_FEW_STARTS, _MANY_STARTS):
            while len(seconds[True]) < pairs:
                for meshed, taken in seconds.items():
                    taken.append(start_once(self._environment, service, template, meshed=meshed))
            verdict = grows_less_than(claim, seconds[False], seconds[True], limit, what="starts")
            if verdict.outcome is Outcome.PASSED:
                break
        return verdict


def requests_for(percent: float) -> int:
    """How many requests of a kind give a quantile bounds on both sides, at the confidence that a red verdict needs.

    Above a quantile q lies one of n values but for a probability of q to the n-th; both sides miss with ``ALPHA``.
    """
    share = percent / 100
    return max(_LEAST, *(math.ceil(math.log(ALPHA / 2) / math.log(side)) for side in (share, 1 - share)))
