"""A plan: what will be written, why there, and how its arrival is seen."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import yaml

from meshbdd.cluster import Edit
from meshbdd.cluster.record import UNDO, read_path, write_path
from meshbdd.intents import Fault, Intent, Mention, ServiceRef, Side
from meshbdd.mesh.abilities import Answer, Need
from meshbdd.sidecars import Sidecars

Object = dict[str, Any]
Dump = Mapping[str, Any]
"""One page of a proxy's configuration."""


Labels = frozenset[tuple[str, str]]
Left = Mapping[tuple[str, str, str], Object | None]
"""Kind, name and namespace of objects → what each will be once something is taken back; ``None``: gone."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of one label.

    Attributes:
        name: The label's.
        values: Some of those that it can have; ``None`` stands for pods without the label.
        among: Whether it is to have one of these, or none of them.
    """

    name: str
    values: frozenset[str | None]
    among: bool = True

    def met(self, labels: Mapping[str, str]) -> bool:
        """Whether a pod with these labels has what is asked."""
        return (labels.get(self.name) in self.values) is self.among


@dataclass(frozen=True, slots=True)
class Where:
    """Which proxies are meant; everything said must hold, nothing said means every one.

    Attributes:
        namespace: Those of pods in this namespace.
        labels: Those of pods with these labels.
        but: Those that are not meant.
        pods: Those of pods of these names.
        asked: Those of pods whose labels have all of this.
        alike: Those of pods with one of these sets of labels, and no label beside. A pod that is started anew is still one of them.
    """

    namespace: str | None = None
    labels: Mapping[str, str] | None = None
    but: tuple[Where, ...] = ()
    pods: frozenset[str] | None = None
    asked: tuple[Asked, ...] = ()
    alike: frozenset[Labels] | None = None

    def takes(self, metadata: Mapping[str, Any]) -> bool:
        """Whether the pod with this metadata is meant."""
        own = metadata.get("labels") or {}
        return (
            self.namespace in (None, metadata["namespace"])
            and all(own.get(name) == value for name, value in (self.labels or {}).items())
            and all(asked.met(own) for asked in self.asked)
            and (self.pods is None or metadata["name"] in self.pods)
            and (self.alike is None or frozenset(own.items()) in self.alike)
            and not any(where.takes(metadata) for where in self.but)
        )


class Marker(Protocol):
    """What in a proxy's configuration shows that it holds a change.

    Its text names it in messages: «route meshbdd-…».
    """

    @property
    def where(self) -> Where:
        """The proxies that are to hold it."""
        ...

    @property
    def pages(self) -> tuple[str, ...]:
        """The pages of the admin interface that it is read from."""
        ...

    @property
    def unique(self) -> bool:
        """Whether no proxy can hold it without this change. One that is not may have been there before."""
        ...

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """Whether a proxy with these pages holds it; ``None``: the change is no business of this proxy."""
        ...


@dataclass(frozen=True, slots=True)
class Stage:
    """Edits that are written together, and arrive together before the next stage is written.

    Attributes:
        edits: What is written, in order.
        tags: For each edit the prefix of the routes that it adds; empty where it adds none.
        markers: How proxies show that they hold it.
        renewed: Services whose listeners it changes. A connection that is open keeps the old listener, so their
            callers' connections are renewed afterwards.
    """

    edits: tuple[Edit, ...]
    tags: tuple[str, ...]
    markers: tuple[Marker, ...] = ()
    renewed: tuple[ServiceRef, ...] = ()

    @classmethod
    def of(cls, *edits: Edit, markers: Sequence[Marker] = (), renewed: Sequence[ServiceRef] = ()) -> Stage:
        """A stage whose edits add no tagged routes."""
        return cls(edits, ("",) * len(edits), tuple(markers), tuple(renewed))


@dataclass(frozen=True, slots=True)
class Through:
    """A fault that does not happen in a sidecar, but in a fault backend, which logs what it does.

    Attributes:
        tag: By which the backend's log tells this fault's calls from others.
        backend: The Service of the backend.
        twin: The Service by which the backend reaches the service's own pods.
    """

    tag: str
    backend: ServiceRef
    twin: ServiceRef


@dataclass(frozen=True, slots=True)
class Draw:
    """Calls of which a proxy draws those that a manifest's fault hits.

    Attributes:
        route: Name of the route that they take, as proxies log it; empty for every call.
        share: Of how many, from 0 to 1.
    """

    route: str
    share: float

    def takes(self, logged: str) -> bool:
        """Whether a call is one of them, by the name of its route.

        Istio adds a dot and the name of the match; before the name of a delegate's route it puts that of who delegates to it.
        """
        name = logged.partition(".")[0]
        return not self.route or name == self.route or name.endswith(f"-{self.route}")


@dataclass(frozen=True, slots=True)
class Aim:
    """Whose calls to a service a manifest makes fail, where it does not everybody's.

    Attributes:
        service: The service.
        callers: Those of whom it does; none: nobody's.
    """

    service: ServiceRef
    callers: tuple[Where, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of planning one intent.

    Attributes:
        summary: The intent in a sentence.
        stages: What is written; taken back in the opposite order.
        standing: What has to stand before, for the rest of the run; each stage makes objects of the run's own.
        intent: What it came from; ``None`` for a manifest.
        service: The service that it is about, where there is one.
        reason: Why it is injected where it is, or how it is meant.
        callers: The only caller that the plan is for; ``None``: every caller.
        side: Where a fault is injected; ``None`` for what is no fault in a proxy.
        faulty: Services that it makes fail; a scenario in which traffic ran and one of them was not called proves nothing.
        through: The fault backend in which it happens, where it is none of a sidecar's.
        stand_ins: Services that it brings up to answer in the place of those that it makes fail; a call is hit that went there.
        draws: Which calls a manifest's own faults are for, as far as it is known.
        authority: Regular expression of whom a call has to ask for so that a fault at the server is for it; empty: anybody.
        missed_with: Services that have no endpoint either while a service is down: whoever calls one meets its absence.
        as_one: Those of ``faulty`` that one and the same object makes fail: it is enough that one of these was called.
        aims: Those of ``faulty`` that a manifest makes fail for some callers alone.
    """

    summary: str
    stages: tuple[Stage, ...]
    standing: tuple[Stage, ...] = ()
    intent: Intent | None = None
    service: ServiceRef | None = None
    reason: str = ""
    callers: Where | None = None
    side: Side | None = None
    faulty: tuple[ServiceRef, ...] = ()
    through: Through | None = None
    stand_ins: tuple[ServiceRef, ...] = ()
    draws: tuple[Draw, ...] = ()
    authority: str = ""
    missed_with: tuple[ServiceRef, ...] = ()
    as_one: tuple[frozenset[ServiceRef], ...] = ()
    aims: tuple[Aim, ...] = ()

    @property
    def edits(self) -> tuple[Edit, ...]:
        """Everything that is written."""
        return tuple(edit for stage in self.stages for edit in stage.edits)

    @property
    def tags(self) -> tuple[str, ...]:
        """For each edit the prefix of the routes that it adds; empty where it adds none."""
        return tuple(tag for stage in self.stages for tag in stage.tags)

    @property
    def markers(self) -> tuple[Marker, ...]:
        """How proxies show that they hold all of it."""
        return tuple(marker for stage in self.stages for marker in stage.markers)

    @property
    def moves_endpoints(self) -> bool:
        """Whether it shows in a service's endpoints, not in a proxy's configuration; never where all is as wished already."""
        return self.service is not None and bool(self.edits) and not self.markers


@dataclass(frozen=True, slots=True)
class Context:
    """What else a scenario does, which decides where a fault has to go.

    Attributes:
        in_force: The plans that are in force.
        said: What the scenario's steps say of services, those before and those to come.
    """

    in_force: tuple[Plan, ...] = ()
    said: tuple[Mention, ...] = ()

    def faults(self, service: ServiceRef) -> tuple[Plan, ...]:
        """The plans of faults in force at a service."""
        return tuple(p for p in self.in_force if isinstance(p.intent, Fault) and p.service == service)


class Mesh(Protocol):
    """One mesh: what its resources have to say so that an intent comes true. It reads the cluster and writes nothing.

    Attributes:
        name: As settings name it.
        sidecars: What tells its pods and proxies from another's.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see above

    @property
    def sidecars(self) -> Sidecars: ...  # noqa: D102 - see above

    def answer(self, need: Need, target: str) -> Answer:
        """Its statement of what it can do; the same whatever the cluster holds.

        Args:
            need: What is needed.
            target: ``lab`` or ``cluster``.
        """
        ...

    def check(self, need: Need, services: Sequence[ServiceRef]) -> None:
        """See that services are set up so that it can; a name that does not exist is left to the step itself.

        Raises:
            BadInput: one is not; the help says what to install.
            NotPossible: one is set up in a way that meshbdd cannot follow.
        """
        ...

    def plan(self, intent: Intent, context: Context) -> Plan:
        """Plan an intent.

        Raises:
            BadInput: a name that does not exist, or something that would have no effect; the sentence says why.
            NotPossible: something that this mesh cannot do.
        """
        ...

    def plan_manifest(self, documents: list[Object], context: Context) -> Plan:
        """Plan that the documents of a manifest are applied.

        Raises:
            BadInput: the mesh would ignore one of them.
        """
        ...

    def see_removable(self, going: Sequence[Plan], staying: Sequence[Plan], left: Callable[[], Left]) -> None:
        """See that a manifest can go while the rest stays.

        Args:
            going: Its plans.
            staying: Those that stay in force.
            left: Tells what the objects that it changed will be then; those that will say nothing else are left out.

        Raises:
            BadInput: something that stays needs it, and has to be taken back first; or would not be true any more.
            NotPossible: on this mesh what stays would no longer be what it is.
        """
        ...

    def see_recoverable(self, service: ServiceRef, staying: Sequence[Plan], left: Callable[[], Left]) -> None:
        """See that a service that is down can have its pods again while the rest stays in force.

        Args:
            service: The service.
            staying: The plans that stay in force.
            left: Tells what its Deployments will be then.

        Raises:
            BadInput: something that stays would not be true of its pods.
        """
        ...

    def leaving(self, stage: Stage) -> tuple[Marker, ...]:
        """What will show that a stage goes where its own markers do not look, because of changes that were made after it.

        It is asked before the stage is taken back. Proxies that are meant hold something else afterwards.
        """
        ...

    def renewal(self, epochs: Mapping[ServiceRef, int]) -> Stage:
        """Objects of the run's own that make every caller of a service open new connections.

        The objects are the same each time; a service whose number grew has its callers' connections renewed.

        Args:
            epochs: Every service whose listeners changed in this run → how often they did.
        """
        ...

    def early(self, context: Context) -> tuple[Stage, ...]:
        """What a scenario will need that disturbs connections, so that it stands before the scenario's first traffic."""
        ...

    def scenery(self, context: Context) -> tuple[Plan, ...]:
        """What a scenario needs from now to its end and does not have yet, once what ``early`` said stands.

        It is asked before every change, since a change may bring the need.
        """
        ...


def difference(edit: Edit, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """What an edit changed, as a unified diff of YAML, without what the API server writes itself."""
    old = _lines(before) if before else []
    new = _lines(after) if after else []
    return "\n".join(difflib.unified_diff(old, new, f"{edit} before", f"{edit} after", lineterm="", n=3))


_UNTOLD = {UNDO, "kubectl.kubernetes.io/last-applied-configuration"}
"""Annotations that would only repeat what is told anyway."""


def _lines(obj: Mapping[str, Any]) -> list[str]:
    shown = copy.deepcopy(dict(obj))
    meta = shown.get("metadata", {})
    kept = {key: meta[key] for key in ("name", "namespace") if key in meta}
    annotations = {key: value for key, value in (meta.get("annotations") or {}).items() if key not in _UNTOLD}
    kept |= {"annotations": annotations} if annotations else {}
    return str(
        yaml.safe_dump({"kind": shown.get("kind"), "metadata": kept, "spec": shown.get("spec")}, sort_keys=False)
    ).splitlines()


def preview(edit: Edit, live: Mapping[str, Any] | None) -> Object:
    """What an edit would make of an object, without writing it."""
    if live is None:
        return copy.deepcopy(edit.new or {})
    wanted = copy.deepcopy(dict(live))
    write_path(wanted, edit.path, edit.make(read_path(live, edit.path)))
    return wanted
