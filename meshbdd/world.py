"""The state of one scenario, and the facade that the steps call.

One road for every change: intent → mesh plan → Change → cluster → arrival gate → evidence.
One road for every claim: samples → claim → verdict → report.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshbdd.claims import Verdict, judge, responses
from meshbdd.cluster import Change, Cluster, UndoStack
from meshbdd.errors import BadInput, EnvironmentBroken, Inconclusive, MeshbddError, Place
from meshbdd.intents import Fault, ServiceRef
from meshbdd.load import Message, Sample, Vantage, read_message, send
from meshbdd.mesh import Gate, Istio, Plan
from meshbdd.mesh.base import difference
from meshbdd.mesh.manifest import find_manifest, read_manifest
from meshbdd.settings import Settings
from meshbdd.telemetry.access_log import AccessLogs, Entry
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually

OUTBOUND_ANNOTATION = "lab.meshbdd.dev/outbound"
CLIENT, PLAIN_CLIENT = "client", "client-plain"
_UNCHANGED = re.compile(r'the response field "[^"]*" of "([^"]*)" is unchanged')
_LOG_SECONDS = Duration(2)
LOG_FLUSH_SECONDS = 0.07
"""A log that did not grow for so long is complete: the lab's sidecars flush theirs every 50 ms."""

Attach = Callable[[str, str, str], None]
"""Name, text and MIME type of a piece of evidence."""


@dataclass(frozen=True, slots=True)
class StepText:
    """A step of the scenario as it stands in the feature file."""

    text: str
    place: Place
    problem: str | None = None


@dataclass(slots=True)
class InForce:
    """A change in force: its plan, what was written, and which traffic ran meanwhile."""

    plan: Plan
    changes: list[Change] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    accounted: bool = False


@dataclass(slots=True)
class Environment:
    """What the scenarios of a run share."""

    settings: Settings
    cluster: Cluster
    mesh: Istio
    gate: Gate
    run: str
    target: str
    attach: Attach

    @property
    def namespace(self) -> str:
        """The default namespace."""
        return self.settings.namespace or self.cluster.namespace


class World:
    """One scenario.

    Args:
        environment: What the run shares.
        feature: The feature file.
        steps: The scenario's steps, to know what is asked later.
    """

    def __init__(self, environment: Environment, feature: Path, steps: Sequence[StepText]) -> None:
        self._environment = environment
        self._feature = feature
        self._steps = steps
        self._messages: dict[str, Message] = {}
        self._before: dict[str, Sample] = {}
        self._in_force: list[InForce] = []
        self._logs = AccessLogs(environment.cluster)
        self._vantages: dict[str, Vantage] = {}
        self._changed = False
        self.undo_stack = UndoStack(environment.settings.undo_budget)
        self.samples: list[Sample] = []
        self.place: Place | None = None
        """Where the step that runs stands."""

    # Requests

    def define_request(self, name: str, text: str) -> None:
        """Remember a request."""
        self._messages[name] = read_message(name, text, self.place)

    def _message(self, name: str) -> Message:
        if name not in self._messages:
            known = ", ".join(f'"{known}"' for known in self._messages) or "none"
            raise BadInput(
                "MB0502",
                f'There is no request "{name}"; defined are: {known}.',
                help=f'define it: Given the request "{name}":',
            )
        return self._messages[name]

    def _vantage(self, pod: str) -> Vantage:
        if pod not in self._vantages:
            pods = self._environment.cluster.list("Pod", self._environment.namespace, labels=f"app={pod}")
            running = [p for p in pods if (p.get("status") or {}).get("phase") == "Running"]
            if not running:
                raise EnvironmentBroken(
                    "MB0503",
                    f'There is no running client pod labelled app={pod} in namespace "{self._environment.namespace}".',
                    help="apply the manifests of meshbdd's folder vantage",
                )
            address = (running[0]["metadata"].get("annotations") or {}).get(OUTBOUND_ANNOTATION)
            if not address:
                raise EnvironmentBroken(
                    "MB0504",
                    f"The client pod {pod} cannot be entered from here; only the lab's pods can so far.",
                    help="run on the lab: --target lab",
                )
            self._vantages[pod] = Vantage(pod, address)
        return self._vantages[pod]

    def send(self, name: str, count: int = 1, users: int = 1, *, outside: bool = False) -> None:
        """Send a request; its samples are what the claims that follow judge."""
        if count < 1 or users < 1:
            raise BadInput(
                "MB0505", f'"{name}" cannot be sent {count} times by {users} users.', help="send at least one request"
            )
        vantage = self._vantage(PLAIN_CLIENT if outside else CLIENT)
        self.samples = send(
            self._message(name), vantage, self._environment.settings.request_timeout, count, min(users, count)
        )
        ids = [sample.request_id for sample in self.samples]
        for change in self._in_force:
            change.requests += ids
            change.accounted = False
        rows = "\n".join(f"{s.started:.3f},{s.seconds * 1000:.1f},{s.told},{s.request_id}" for s in self.samples[:1000])
        self._environment.attach(
            f'samples of "{name}"', f"started,milliseconds,outcome,request id\n{rows}\n", "text/csv"
        )

    def _ask(self, name: str) -> Sample:
        return send(self._message(name), self._vantage(CLIENT), self._environment.settings.request_timeout)[0]

    # Changes

    def service(self, text: str) -> ServiceRef:
        """A service as the tester names it."""
        return ServiceRef.parse(text, self._environment.namespace)

    def fail(self, fault: Fault) -> None:
        """Put a fault into the mesh."""
        self._carry_out(self._environment.mesh.plan(fault))

    def apply_manifest(self, name: str) -> None:
        """Apply a manifest that the tester has lying around."""
        file = find_manifest(name, self._feature, self._environment.settings.project)
        documents = read_manifest(file, self._environment.namespace)
        self._carry_out(self._environment.mesh.plan_manifest(documents))

    def remove_manifest(self, name: str) -> None:
        """Take back what applying a manifest did."""
        file = find_manifest(name, self._feature, self._environment.settings.project)
        wanted = {(d["kind"], d["metadata"]["name"]) for d in read_manifest(file, self._environment.namespace)}
        found = [f for f in self._in_force if {(c.edit.kind, c.edit.name) for c in f.changes} & wanted]
        if not found:
            raise BadInput("MB0506", f'The manifest "{name}" was not applied in this scenario.', help="apply it first")
        self._withdraw(found)

    def take_down(self, service: ServiceRef) -> None:
        """Leave a service without endpoints."""
        self._carry_out(self._environment.mesh.plan_down(service))
        self._environment.gate.wait_endpoints(service, some=False)

    def recover(self, service: ServiceRef) -> None:
        """Withdraw what this scenario did to a service."""
        found = [f for f in self._in_force if f.plan.service == service]
        if not found:
            raise BadInput(
                "MB0507",
                f"{service} cannot recover: nothing was done to it in this scenario.",
                help="let it fail first",
            )
        self._withdraw(found)

    def _carry_out(self, plan: Plan) -> None:
        self._before_first_change()
        for edit in plan.edits:  # everything is admitted before anything is written
            self._dry_run(edit)
        now = InForce(plan)
        self._in_force.append(now)
        began = time.monotonic()
        for edit, tag in zip(plan.edits, plan.tags, strict=True):
            change = Change(self._environment.cluster, edit, self._environment.run, tag)
            now.changes.append(change)
            self.undo_stack.push(change)
            change.apply()
        written = (time.monotonic() - began) * 1000
        arrival = self._environment.gate.wait_present(plan.markers) if plan.markers else None
        self._logs.mark()
        diffs = "\n".join(difference(c.edit, c.before, c.after) for c in now.changes)
        self._environment.attach(
            plan.summary,
            f"{plan.summary}\ninjected {plan.reason}\nwritten after {written:.0f} ms; held by {arrival or 'the API'}\n\n{diffs}\n",
            "text/plain",
        )

    def _dry_run(self, edit: Any) -> None:
        from meshbdd.mesh.base import preview  # noqa: PLC0415 - only here

        cluster = self._environment.cluster
        live = cluster.find(edit.kind, edit.name, edit.namespace)
        wanted = preview(edit, live)
        if live is not None:
            cluster.replace(wanted, dry_run=True)
        else:
            cluster.create(wanted, dry_run=True)

    def _before_first_change(self) -> None:
        if self._changed:
            return
        wrong = next((step for step in self._steps if step.problem), None)
        if wrong is not None:
            raise BadInput(
                "MB0508",
                f"The step «{wrong.text}» further on is not understood: {wrong.problem}",
                place=wrong.place,
                help="mend it; nothing was changed",
            )
        for step in self._steps:
            for name in _UNCHANGED.findall(step.text):
                self._before[name] = self._ask(name)
        self._changed = True

    def _withdraw(self, found: list[InForce]) -> None:
        for change in found:
            self._account(change)
        changes = tuple(change for item in found for change in item.changes)
        kept = self.undo_stack.undo(changes)
        self._in_force = [item for item in self._in_force if item not in found]
        for item in found:
            self._environment.gate.wait_absent(item.plan.markers)
            if item.plan.service and not item.plan.markers:
                self._environment.gate.wait_endpoints(item.plan.service, some=True)
        if kept:
            self._environment.attach("kept", "\n".join(kept), "text/plain")

    def close(self) -> None:
        """Undo everything, and see it gone at every proxy.

        Raises:
            RestoreIncomplete: something is still changed.
            Inconclusive: a fault was never met by any call.
        """
        vacuous = self._vacuous()
        in_force, self._in_force = self._in_force, []
        kept = self.undo_stack.undo()
        if kept:
            self._environment.attach("kept", "\n".join(kept), "text/plain")
        for item in in_force:
            if item.changes:
                self._environment.gate.wait_absent(item.plan.markers)
                if item.plan.service and not item.plan.markers:
                    self._environment.gate.wait_endpoints(item.plan.service, some=True)
        if vacuous is not None:
            raise vacuous

    def _vacuous(self) -> MeshbddError | None:
        try:
            for change in self._in_force:
                self._account(change)
        except Inconclusive as error:
            return error
        return None

    # Accounting

    def _account(self, change: InForce) -> None:
        """See whether a fault met any call while traffic ran.

        Raises:
            Inconclusive: it met none, so no claim about it means anything.
        """
        if (
            change.accounted
            or not change.requests
            or not change.plan.tags
            or change.plan.service is None
            or not change.plan.markers
        ):
            return
        change.accounted = True
        host = f"{change.plan.service.name}.{change.plan.service.namespace}.svc.cluster.local"
        tags = tuple(tag for tag in change.plan.tags if tag)

        seen: list[tuple[float, int]] = []

        def probe() -> list[Entry]:
            calls = [entry for entry in self._logs.since_mark() if entry.outbound and entry.service == host]
            now = time.monotonic()
            if not seen or seen[-1][1] != len(calls):
                seen.append((now, len(calls)))
            if not calls:
                raise NotYet(f"no sidecar logged a call to {change.plan.service}")
            if now - seen[-1][0] < LOG_FLUSH_SECONDS:
                raise NotYet(f"{len(calls)} calls so far")
            return calls

        calls = eventually(
            probe,
            what=f"A call to {change.plan.service} while «{change.plan.summary}» was in force",
            within=_LOG_SECONDS,
            code="MB0603",
            failure=Inconclusive,
            help="send requests that make its callers call it; a fault that meets no call proves nothing",
        )
        hit = [entry for entry in calls if entry.injected and entry.route.startswith(tags)]
        told = f"the fault hit {len(hit)} of {len(calls)} calls to {change.plan.service}"
        numbers = {"calls": len(calls), "hit": len(hit), "flags": sorted({flag for e in hit for flag in e.flags})}
        self._environment.attach("fault accounting", f"{told}\n{json.dumps(numbers)}\n", "text/plain")

    def faulted(self) -> dict[str, str]:
        """Request id → what was injected into which of its calls, as the sidecars logged it."""
        if not self._in_force:
            return {}
        return {
            entry.request_id: f"{entry.service.partition('.')[0]}, response flag {','.join(sorted(entry.flags))}"
            for entry in self._logs.since_mark()
            if entry.outbound and entry.injected
        }

    # Claims

    def claim(self, verdict: Verdict) -> None:
        """Let a verdict count, unless a fault of this scenario met no call at all.

        Raises:
            ClaimFailed: the claim is false.
            Inconclusive: it cannot be told.
        """
        for change in self._in_force:
            self._account(change)
        numbers = json.dumps({"outcome": verdict.outcome, **verdict.numbers}, indent=2, default=str)
        self._environment.attach("verdict", f"{verdict.outcome}: {verdict.sentence}\n\n{numbers}\n", "text/plain")
        judge(verdict)

    def claim_unchanged(self, path: str, name: str) -> None:
        """A field of a request's answer is as before the scenario's first change."""
        self.claim(responses.unchanged(name, path, self._before.get(name), self._ask(name)))
