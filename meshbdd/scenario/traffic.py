"""A scenario's requests: what is defined, what is sent, and the samples that the claims judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from meshbdd.claims import Claim, Verdict
from meshbdd.claims.share import Explain, Stopped
from meshbdd.errors import BadInput, Place
from meshbdd.intents import ServiceRef
from meshbdd.load import Pace, Plan, Result, Sample
from meshbdd.mesh.abilities import Ability
from meshbdd.scenario.background import NOTED, Background
from meshbdd.scenario.enough import Enough, unused
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.last_change import LastChange, none_met, not_met
from meshbdd.scenario.loaded import LoadedSamples, at_rate
from meshbdd.scenario.needs import needs
from meshbdd.scenario.own_requests import OwnRequests
from meshbdd.scenario.sender import Sender
from meshbdd.scenario.sent_ids import trace_of
from meshbdd.scenario.settling import in_time
from meshbdd.scenario.vantages import CLIENT, MAYBE_UNSEEN, PLAIN_CLIENT, check_entry
from meshbdd.units import Duration, Rate
from meshbdd.waiting import NotYet

USERS = 5
"""Users at a time that send enough requests: so many that it is quick, so few that they do not overload a service."""

_MET_SOON = Duration(5)
"""So long a load that goes on is given to send a request that begins and ends after a change."""

MOST_COUNTED = 100_000
"""Requests of a literal count: each has a sample of its own, about 1 kB."""


class Traffic:
    """The requests of one scenario.

    Args:
        environment: What the run shares.
        sent: Told the ids of requests that were sent, and which service was asked by those among them that perhaps no proxy has
            seen.
        traced: Whether requests carry a trace context (``traceparent``), because a claim asks where it gets to.
        fields: Paths of the fields that claims of the scenario ask for, kept of every answer.
        sending: Called each time before steps send requests.

    Attributes:
        sender: Sends them.
        own: Those that claims send for themselves.
    """

    def __init__(
        self,
        environment: Environment,
        sent: Callable[[Sequence[str], Mapping[str, ServiceRef]], None],
        *,
        traced: bool = False,
        fields: Sequence[str] = (),
        sending: Callable[[], object] = lambda: None,
    ) -> None:
        environment.sent.begin()
        self._traced = traced
        self._environment = environment
        self._sent = sent
        self._sending = sending
        self.sender = Sender(environment, traced=traced, fields=fields)
        self.requests = self.sender.requests
        self.own = OwnRequests(self.sender)
        self.samples: Sequence[Sample] = []
        """What the last step that sent something got; the claims that follow judge it."""
        self._enough: Enough | None = None
        self._unused: str | None = None
        self._background: Background | None = None
        self._last_change = LastChange()
        self.changes: list[tuple[float, str]] = []
        """Unix time at which each change of the mesh was begun, and the change in words."""
        self.last_name: str | None = None
        """The request that a step sent last."""
        self.outside: ServiceRef | None = None
        """Whom a step asked last, by HTTP and from outside the mesh; ``None``: the last request was another one."""

    def define(self, name: str, text: str | None, place: Place | None) -> None:
        """Remember a request.

        Raises:
            BadInput: it has no text, or this is no request.
        """
        if text is None:
            raise BadInput(
                "MB0503",
                f'The request "{name}" has no text.',
                help='write the message below it, between two lines of """',
            )
        self.requests.add(name, text, place)

    def counts(self, request_id: str) -> bool:
        """Whether a request is one that claims count: none that a claim sent for itself, and none of an earlier scenario."""
        return request_id not in self.own.ids and not self._environment.sent.are_earlier(request_id)

    def _run(self, plan: Plan) -> Result:
        """Send, and note what was sent."""
        self._sending()
        result = self.sender.send(plan)
        outside = plan.vantage is not None and plan.vantage.name == PLAIN_CLIENT
        asked = self.sender.asked(plan.message.name)
        unseen = {s.request_id: asked for s in result.samples() if s.error in MAYBE_UNSEEN} if outside else {}
        self._note([result.ids.of(number) for number in range(min(result.sent, NOTED))], unseen)
        return result

    def _note(self, ids: Sequence[str], unseen: Mapping[str, ServiceRef] | None = None) -> None:
        if ids:
            self._last_change.met()
            self._sent(ids, unseen or {})

    def _took(self, plan: Plan, samples: Sequence[Sample]) -> None:
        """These samples are what the claims that follow judge."""
        self._leave_enough()
        self.samples, self.last_name = samples, plan.message.name
        self._last_change.sampled()
        self.sender.tell(plan, samples)

    @needs(Ability.CLIENTS)
    def send(self, name: str, count: int = 1, users: int = 1, *, outside: bool = False) -> None:
        """Send a number of requests.

        Raises:
            BadInput: more than can be looked at one by one, or by more users than there can be.
        """
        if count > MOST_COUNTED:
            raise BadInput(
                "MB0527",
                f'"{name}" cannot be sent {count:,} times: every single one is kept for the claims.',
                help=f"send {MOST_COUNTED:,} or less, or say a rate and a time",
            )
        vantage = PLAIN_CLIENT if outside else CLIENT
        message = self.requests.get(name)
        self.outside = self.sender.asked(name) if outside and not message.grpc else None
        plan = self.sender.plan(message, vantage, count=count, users=min(users, count))
        self._took(plan, list(self._run(plan).samples()))

    @needs(Ability.CLIENTS)
    def send_at_rate(self, name: str, rate: Rate, duration: Duration) -> None:
        """Send as a schedule says, whatever becomes of the requests before."""
        self.outside = None
        plan = self.sender.plan(self.requests.get(name), pace=Pace(rate), duration=duration)
        self._took(plan, LoadedSamples(self._run(plan)))

    @needs(Ability.CLIENTS)
    def enough(self, name: str, users: int | None = None, at_most: int | None = None) -> None:
        """Let the claims that follow send as many requests as they need."""
        self._leave_enough()
        self.outside = None
        message = self.requests.get(name)

        def draw(count: int, within: Duration) -> list[Sample]:
            plan = self.sender.plan(message, count=count, users=min(users or USERS, count), duration=within)
            return list(self._run(plan).samples())

        self._enough = Enough(name, draw, self._environment.settings.enough_timeout, at_most)
        self.samples, self.last_name = self._enough.samples, name
        self._last_change.to_be_drawn()

    @property
    def draws(self) -> bool:
        """Whether the claims that follow send as many requests as they need."""
        return self._enough is not None

    def _leave_enough(self) -> None:
        """Nothing sent and nothing judged must not be green: ``close`` tells of it."""
        if self._enough is not None and not self._enough.judged:
            self._unused = self._unused or self._enough.name
        self._enough = None

    @needs(Ability.CLIENTS)
    def keep_sending(self, name: str, rate: Rate) -> None:
        """Send as a schedule says until ``stop_load``, while other steps run.

        Raises:
            BadInput: another load runs.
        """
        if self._background is not None:
            raise BadInput(
                "MB0521", f'"{self._background.name}" is still being sent.', help="stop it first: When the load stops"
            )
        self._leave_enough()
        self.samples = []  # what was sent before it is no answer to what is claimed after it
        self._background = Background(name)
        plan = self.sender.plan(self.requests.get(name), pace=Pace(rate))
        self._sending()
        self._environment.sent.add(self._background.start(plan), name)

    def stop_load(self) -> None:
        """End the load that runs in the background; the claims that follow judge all of it.

        Raises:
            BadInput: none runs.
        """
        load = self._background
        if load is None:
            raise BadInput("MB0522", "There is no load to stop.", help='start one: When "…" keeps being sent at 50/s')
        result = load.stop()
        self.note_load()
        self._background = None
        if result is not None:
            check_entry(result)
            self._took(result.plan, LoadedSamples(result))

    def note_load(self) -> None:
        """Tell what the load in the background has sent since the last look."""
        if self._background is not None:
            self._note(self._background.fresh())

    @property
    def has_sent(self) -> bool:
        """Whether a step has sent anything."""
        return self.loading or self.last_name is not None

    @property
    def loading(self) -> bool:
        """Whether a load runs in the background."""
        return self._background is not None

    def mesh_changes(self, summary: str) -> None:
        """The mesh is about to change: a stream that began before must not go on after it."""
        self.note_load()
        self._last_change.begin(summary)
        self._environment.sent.changed(self._background.ids if self._background else None)
        self.changes.append((time.time(), summary))
        if self._enough is not None:
            why = f"and the mesh was changed («{summary}») before the claim"
            self._enough.end(Stopped(why, "claim first, then change"))

    def mesh_changed(self) -> None:
        """A change is in force everywhere: what the load sends from now on runs under it, what was sent before did not."""
        self._last_change.arrived()
        if self._background is not None:
            self._background.skip()

    def judge(self, claim: Claim, explain: Explain) -> Verdict:
        """Judge what the last step that sends something sent, or lets send.

        Raises:
            BadInput: that is a load that still runs.
        """
        if self._background is not None and not self.samples and self._enough is None:
            raise BadInput(
                "MB0523",
                f'"{self._background.name}" is still being sent, so what became of it cannot be judged yet.',
                help="write before the claim: When the load stops",
            )
        if self._last_change.of_samples and self.samples:
            if self._enough is not None:
                self._enough.judged = True
            return not_met(claim.text, self._last_change.of_samples, others=not self._last_change.unmet)
        if self._enough is None:
            return at_rate(claim.judge(self.samples, explain), self.samples)
        before = len(self._enough.samples)
        try:
            return self._enough.judge(claim, explain)
        finally:
            if drawn := self._enough.samples[before:]:
                self.sender.tell(self.sender.plan(self.requests.get(self._enough.name)), drawn)

    def nothing_since(self, claim: str) -> Verdict | None:
        """What to say of a claim where no request has met the last change; ``None`` where one has."""
        change = self._last_change.unmet_in_force
        return not_met(claim, change) if change else None

    def wait_met(self) -> None:
        """Where a load goes on, let one of its requests meet the last change before something is claimed of its calls."""

        def probe() -> None:
            self.note_load()
            if self._last_change.unmet:
                raise NotYet("none of the load's requests has")

        if self.loading:
            in_time(probe, _MET_SOON)

    def met(self, verdict: Verdict, ids: Collection[str] = ()) -> Verdict:
        """A verdict on calls, where any of them met the last change; of calls from before it nothing can be told.

        Args:
            verdict: What they tell.
            ids: Request ids of the calls, where the claim is about each of them, whenever it was made.
        """
        older = ids and all(map(self._environment.sent.are_older, ids))
        return none_met(verdict, self._last_change.begun if older else self._last_change.unmet)

    def traces(self) -> list[str]:
        """The trace ids of the samples, where their requests carried a trace context of ours."""
        return [trace_of(sample.request_id) for sample in self.samples] if self._traced else []

    def end(self) -> None:
        """The scenario is over: nothing is sent any more."""
        load = self._background
        result = load.stop(at_once=True) if load else None
        self.note_load()
        self._background = None
        if result is not None:
            self.sender.tell(result.plan, LoadedSamples(result))

    def close(self) -> None:
        """Nothing is claimed any more.

        Raises:
            Inconclusive: enough requests were to be sent, and no claim asked for any.
        """
        self._leave_enough()
        if self._unused is not None:
            raise unused(self._unused)
