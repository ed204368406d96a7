"""The state of one scenario, and the facade that the steps call.

One road for every change: intent → mesh plan → Change → cluster → arrival gate → evidence (``scenario/changes.py``).
One road for every claim: samples → claim → verdict → evidence (``World.claim``).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from pathlib import Path

from meshbdd.claims import Claim, Outcome, Verdict, judge, responses
from meshbdd.claims.responses import AnswerClaim
from meshbdd.claims.share import Explain
from meshbdd.errors import BadInput, EnvironmentBroken, Inconclusive, MeshbddError, NotPossible, Place
from meshbdd.evidence import VerdictReached
from meshbdd.intents import ServiceRef
from meshbdd.load import Sample
from meshbdd.mesh.abilities import Ability
from meshbdd.mesh.catalog import Catalog
from meshbdd.scenario import (
    Accounting,
    CallLog,
    Changes,
    Circuits,
    Environment,
    Observations,
    Overhead,
    Resilience,
    StepText,
    Traffic,
    mentions,
    unmeshed,
)
from meshbdd.scenario.asides import mixed
from meshbdd.scenario.foreseen import denies_plaintext
from meshbdd.scenario.in_force import InForce
from meshbdd.scenario.needs import needs
from meshbdd.scenario.other_runs import OtherRuns
from meshbdd.scenario.vantages import CLIENT, PLAIN_CLIENT
from meshbdd.sidecars import LINKERD

__all__ = ["Environment", "StepText", "World"]

_UNCHANGED = re.compile(r'the response field "[^"]*" of "([^"]*)" is unchanged')
_SENDS = re.compile(r'"[^"]*" (?:is sent|keeps being sent)|enough "[^"]*" requests are sent')
_TRACED = "the trace context reaches "
_FIELD = re.compile(r'(?:the response field|of responses have) "([^"]+)"')


class World:
    """One scenario.

    Args:
        environment: What the run shares.
        feature: The feature file.
        steps: The scenario's steps, to know what is asked later.
        rehearsal: Gives what a step of the scenario would be refused for, as far as can be known without a run.

    Attributes:
        traffic: Its requests and samples.
        changes: What it changed in the mesh.
        observed: What the mesh says of it.
        resilience: How services treat each other.
        circuits: What their circuit breakers do.
        overhead: What a sidecar costs.
        place: Where the step that runs stands.
    """

    def __init__(
        self,
        environment: Environment,
        feature: Path,
        steps: Sequence[StepText],
        rehearsal: Callable[[], MeshbddError | None] = lambda: None,
    ) -> None:
        environment.standing.settle()
        self._environment = environment
        self._steps = steps
        self._rehearsal = rehearsal
        named = {service.namespace for step in steps for asked in step.needs for service in asked.services}
        self._others = OtherRuns(environment.cluster, environment.namespace, environment.run, named)
        self._others.look()
        self._before: dict[str, Sample] = {}
        self._defined_before: frozenset[str] | None = None
        self._accounting = Accounting(environment)
        self.changes = Changes(
            environment,
            feature,
            said=tuple(mentions(steps, environment.namespace)),
            before_first=self._before_first_change,
            changing=self._mesh_changes,
            arrived=self._mesh_changed,
            leaving=self._mesh_change_leaves,
        )
        texts = [step.text for step in steps]
        traced = any(text.startswith(_TRACED) for text in texts)
        self.traffic = Traffic(
            environment,
            sent=self.changes.sent,
            traced=traced,
            fields=_fields(texts),
            sending=self._accounting.before_traffic,
        )
        self._call_log = CallLog(environment, self.traffic, texts)
        self.observed = Observations(environment, self.traffic, self._call_log, self._named, texts)
        self.resilience = Resilience(environment, self.traffic, self._call_log, texts)
        self.circuits = Circuits(environment, self.traffic, self._call_log)
        self.overhead = Overhead(environment, self.traffic, lambda: (item.plan for item in self.changes.in_force))
        self.place: Place | None = None

    @property
    def samples(self) -> Sequence[Sample]:
        """What the claims judge."""
        return self.traffic.samples

    @property
    def namespace(self) -> str:
        """The default namespace."""
        return self._environment.namespace

    def service(self, text: str) -> ServiceRef:
        """A service, or a client, as the tester names it.

        Raises:
            BadInput: there is none of that name; the nearest one is offered.
        """
        ref = self._named(text)
        if ref.name not in {CLIENT, PLAIN_CLIENT}:  # whether these are set up, the requests say
            Catalog(self._environment.cluster).see_known(ref)
        return ref

    def _named(self, text: str) -> ServiceRef:
        return ServiceRef.parse(text, self._environment.namespace)

    def _before_first_change(self) -> None:
        """Understand the whole scenario, see an earlier one's requests ended, and ask what claims will compare with."""
        self._defined_before = frozenset(self.traffic.requests.all)
        wrong = next((step for step in self._steps if step.problem), None)
        if wrong is not None:
            raise BadInput(
                "MB0508",
                f"The step «{wrong.text}» further on is not understood: {wrong.problem}",
                place=wrong.place,
                help="mend it; nothing was changed",
            )
        self._see_all_possible()
        if found := mixed([step.text for step in self._steps]) or self.observed.query_not_taken():
            number, error = found
            error.place = self._steps[number].place
            raise error
        refusal = self._rehearsal()
        if refusal is not None and self.place not in (
            refusal.place,
            refusal.step,
        ):  # else the step that is under way says it itself
            refusal.sentence = f"A step further on cannot be taken, so nothing was changed: {refusal.sentence}"
            raise refusal
        if not self.traffic.loading:
            self._environment.gate.wait_quiet()
        for step in self._steps:
            for name in _UNCHANGED.findall(step.text):
                if name not in self.traffic.requests.all and any(
                    s.text == f'the request "{name}":' for s in self._steps
                ):
                    raise _defined_late(name, step.place)
                self._before[name] = self.traffic.own.ask(name)
        self.resilience.before_first_change()
        self.observed.before_first_change()
        self._accounting.begin()

    def _see_all_possible(self) -> None:
        """See that the mesh can do what every step of the scenario will ask."""
        for step in self._steps:
            for asked in step.needs:
                try:
                    self._environment.require(asked, step.text)
                except MeshbddError as error:
                    error.met_at(step.place)
                    raise

    def _mesh_changes(self, summary: str) -> None:
        self.traffic.mesh_changes(summary)
        self._call_log.witnesses.look()

    def _mesh_changed(self, item: InForce) -> None:
        self.traffic.mesh_changed()
        self._call_log.witnesses.mesh_changed()
        self._accounting.arrived(item, self.changes.in_force)

    def _mesh_change_leaves(self, item: InForce) -> None:
        """See that a fault that is to go has met a call, where traffic ran under it: also that of a load that goes on."""
        self.traffic.wait_met()
        if self.traffic.loading and item.plan.faulty and not item.requests:
            raise Inconclusive(
                "MB0619",
                f"Whether «{item.plan.summary}» met any call of the load cannot be told: none of the load's requests began and ended "
                "while it was in force.",
                help="let the load go on for longer before it is withdrawn",
            )
        self._accounting.account([item], final=True)

    def judge(self, claim: Claim) -> None:
        """Judge the requests of the last step that sent some, or let the claim send as many as it needs.

        Raises:
            ClaimFailed: the claim is false.
            Inconclusive: it cannot be told.
        """
        self.claim(self.traffic.judge(claim, self._explainer()))

    def _explainer(self) -> Explain:
        """Tells of a failure what went wrong in its calls; reads the logs when the first one is asked for."""

        @cache
        def told() -> Mapping[str, str]:
            if not self.changes.in_force:
                return {}
            self._account()  # waits until the logs are complete
            return self._accounting.reasons()

        return lambda request_id: told().get(request_id, "")

    def _account(self, *, holds: bool = False) -> None:
        places = [step.place for step in self._steps]
        later = self._steps[places.index(self.place) + 1 :] if self.place in places else ()
        more = any(_SENDS.match(step.text) for step in later)
        self._accounting.account(self.changes.in_force, more=more, holds=holds)

    @needs(Ability.DENIALS)
    def claim_denied(self) -> None:
        """The last request was denied by a proxy, by the word of the proxies' own logs."""
        self.judge(self._of_every_pod(responses.is_denied(self._accounting.denied, self._explainer())))

    @needs(Ability.DENIALS)
    def claim_turned_away(self) -> None:
        """The last request did not get in, be it by its connection or by a proxy's denial."""
        self.judge(self._of_every_pod(responses.is_turned_away(self._accounting.denied, self._explainer())))

    def _of_every_pod(self, claim: AnswerClaim) -> AnswerClaim:
        """A claim that the last request did not get in, with its doubt about pods of the service asked that let everybody in."""
        name = self.traffic.last_name
        asked = self.traffic.sender.asked(name) if name else None
        return unmeshed.turned_away_by_all(claim, asked, self._call_log.proxies) if asked else claim

    @needs(Ability.REFUSALS)
    def claim_refused(self) -> None:
        """The connection of the last request was refused or reset before an answer began.

        Raises:
            NotPossible: the mesh turned the request away, but not by its connection.
        """
        last = self.traffic.samples[-1] if self.traffic.samples else None
        asked, on_linkerd = self.traffic.outside, self._environment.mesh.sidecars is LINKERD
        denied = last is not None and last.status == HTTPStatus.FORBIDDEN and self._accounting.denied(last.request_id)
        if on_linkerd and last is None and asked is not None:  # a rehearsal: nothing was sent
            catalog = Catalog(self._environment.cluster, LINKERD)
            denied = denies_plaintext(catalog, self.changes.in_force, asked)
        if on_linkerd and denied:
            raise NotPossible(
                "MB0456",
                "«the connection is refused» is not possible on Linkerd: its proxies answer what they deny with 403, and close "
                "no connection over HTTP.",
                help="claim that the request is turned away, which is true of either",
            )
        self.judge(self._of_every_pod(responses.is_refused()))

    def claim(self, verdict: Verdict) -> None:
        """Let a verdict count, unless a fault of this scenario met no call at all, or another run changed the mesh too.

        Raises:
            ClaimFailed: the claim is false.
            Inconclusive: it cannot be told.
        """
        self.traffic.note_load()
        self._account(holds=verdict.outcome is Outcome.PASSED)
        self._others.see_none()
        self._environment.tell(VerdictReached(str(verdict.outcome), verdict.sentence, verdict.numbers, verdict.notes))
        judge(verdict)

    @needs(Ability.CLIENTS)
    def claim_unchanged(self, path: str, name: str) -> None:
        """A field of a request's answer is as before the scenario's first change.

        Raises:
            BadInput: the request was not defined then.
        """
        if self._defined_before is not None and name in self.traffic.requests.all.keys() - self._defined_before:
            raise _defined_late(name, self.place)
        now = self.traffic.own.ask(name)
        verdict = responses.unchanged(
            name, path, self._before.get(name), now, changed=self.changes.made, measured=self.traffic.own.measured
        )
        self.claim(self.traffic.nothing_since(f'the response field "{path}" of "{name}" is unchanged') or verdict)

    def close(self, *, skipped: bool = False, broken: bool = False) -> None:
        """Undo everything, and see it gone at every proxy.

        Args:
            skipped: Whether the scenario was given up half-way: it claims nothing, so nothing is missing from it.
            broken: Whether a step was not taken or is false: the scenario is not green, and what was to follow did not.

        Raises:
            RestoreIncomplete: something is still changed.
            Inconclusive: a fault was never met by any call, or requests that were to be sent never were.
        """
        vacuous: Inconclusive | None = None
        with contextlib.ExitStack() as leaving:
            leaving.callback(self._call_log.close)
            leaving.callback(self.changes.take_back_all)  # first of all, and whatever happens
            try:
                self.traffic.end()
                self._accounting.account(self.changes.in_force, final=True)
                if not broken:
                    self.traffic.close()
            except Inconclusive as error:
                vacuous = error
        if self.traffic.samples:
            with contextlib.suppress(EnvironmentBroken):  # a picture less; every claim has been judged
                self._accounting.tell_calls()
        if vacuous is not None and not skipped:
            raise vacuous


def _defined_late(name: str, place: Place | None) -> BadInput:
    return BadInput(
        "MB0537",
        f'The request "{name}" is defined after the first change, so what it was answered before cannot be compared with.',
        place=place,
        help="define it before the first step that changes anything",
    )


def _fields(texts: Sequence[str]) -> list[str]:
    """The fields of responses that a scenario's claims ask for."""
    return [path for text in texts for path in _FIELD.findall(text)]
