"""What the scenarios of a run share, and what a scenario knows of its own text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from meshbdd.cluster import Cluster
from meshbdd.errors import Place
from meshbdd.evidence import Tell
from meshbdd.intents import Mention, ServiceRef, Side, Topic
from meshbdd.mesh import Gate, Mesh
from meshbdd.mesh.abilities import refuse_impossible
from meshbdd.scenario.needs import Asked
from meshbdd.scenario.sent_ids import SentIds
from meshbdd.scenario.standing import Standing
from meshbdd.settings import Settings
from meshbdd.sidecars import ISTIO

_TOPICS = (
    (Topic.FAULT, re.compile(r"(\S+) (?:fails|is slowed by) ")),
    (Topic.RETRIES, re.compile(r"calls to (\S+) are retried ")),
    (Topic.RETRIES, re.compile(r"\S+ calls (\S+) at (?:most|least) \S+ times per request")),
    (Topic.TIMEOUT, re.compile(r"calls to (\S+) time out ")),
    (Topic.BREAKER, re.compile(r"(\S+) has a circuit breaker ")),
    (Topic.BREAKER, re.compile(r"the circuit to (\S+) (?:is|opens|closes) ")),
    (Topic.LIMIT, re.compile(r"(\S+) accepts at most ")),
    (Topic.MIRROR, re.compile(r"traffic to (\S+) is mirrored ")),
    (Topic.ACCESS, re.compile(r"only \S+ may call (\S+)")),
    (Topic.REPORTS, re.compile(r"the mesh reports at least \S+ requests from \S+ to (\S+)")),
    (Topic.REPORTS, re.compile(r"calls from \S+ to (\S+) use mutual TLS")),
    (Topic.REPORTS, re.compile(r"the (?:access log of|trace context reaches) (\S+)")),
    (
        Topic.REPORTS,
        re.compile(r'the query "(?=.*reporter="destination").*destination_service(?:_name)?="([\w-]+(?:\.[\w-]+)?)'),
    ),
)
"""The phrases of the vocabulary that bear on where a fault has to be injected."""

_DENIED = re.compile(r"the request is (?:denied|turned away)")
"""A claim about whichever service denies: a fault at the caller would answer before that is asked."""


@dataclass(frozen=True, slots=True)
class StepText:
    """A step of the scenario as it stands in the feature file.

    Attributes:
        text: The step without its keyword.
        place: Where it stands.
        problem: Why it is not understood; ``None`` where it is.
        options: The rows of its table that have two columns.
        needs: What it will ask of the mesh.
    """

    text: str
    place: Place
    problem: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[Asked, ...] = ()


def mentions(steps: Iterable[StepText], namespace: str) -> Iterator[Mention]:
    """What the steps of a scenario say of services, as far as it bears on where a fault has to be injected.

    Args:
        steps: All steps of the scenario.
        namespace: Where services without one lie.
    """
    said = list(steps)
    denied = next((step.text for step in said if _DENIED.match(step.text)), None)
    for step in said:
        for topic, pattern in _TOPICS:
            found = pattern.match(step.text)
            if found:
                at = step.options.get("inject at")
                side, service = Side(at) if at in set(Side) else None, ServiceRef.parse(found[1], namespace)
                yield Mention(topic, service, step.text, side)
                if topic is Topic.FAULT and denied is not None:
                    yield Mention(Topic.ACCESS, service, denied)


@dataclass(slots=True)
class Environment:
    """What the scenarios of a run share."""

    settings: Settings
    cluster: Cluster
    mesh: Mesh
    gate: Gate
    run: str
    target: str
    tell: Tell
    standing: Standing = field(init=False)
    """What stands in the mesh from scenario to scenario."""
    sent: SentIds = field(default_factory=SentIds)
    """Which requests the scenario has sent, and which are earlier ones."""

    def __post_init__(self) -> None:
        self.standing = Standing(self.cluster, self.mesh, self.gate, self.run, self.settings.undo_budget)

    @property
    def namespace(self) -> str:
        """The default namespace."""
        return self.settings.namespace or self.cluster.namespace

    def wait_still(self) -> None:
        """Wait until what is counted from here on is this scenario's: no call of an earlier one is under way any more, and no
        proxy can forget what it counted. Istio's do when a listener has drained, and the lab's do not.

        Raises:
            Inconclusive: a proxy has requests under way, or goes on draining listeners.
        """
        self.gate.wait_quiet()
        if self.mesh.sidecars is ISTIO and self.target != "lab":
            self.gate.wait_drained()

    def require(self, asked: Asked, what: str) -> None:
        """See that the mesh can do what a step asks, and that its services are set up for it.

        Args:
            asked: What it asks.
            what: The same in a tester's words.

        Raises:
            NotPossible: this mesh cannot.
            BadInput: a service lacks what is needed for it.
        """
        refuse_impossible(self.mesh.answer(asked.need, self.target), what)
        self.mesh.check(asked.need, asked.services)

    def close(self) -> list[str]:
        """Take away what stands in the mesh for the run, and leave the proxies.

        Returns:
            Sentences about what others had changed.

        Raises:
            RestoreIncomplete: something is still there.
        """
        try:
            return self.standing.close()
        finally:
            self.gate.close()
