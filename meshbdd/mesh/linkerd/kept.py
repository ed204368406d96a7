"""Where steps in force keep callers out, and whether they do where a Server decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.intents import Access, MutualTls, ServiceRef, TlsMode
from meshbdd.mesh.base import Plan
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.adding_up import Accounts
from meshbdd.mesh.linkerd.backend import DEFAULT_POLICY
from meshbdd.mesh.linkerd.behind import behind
from meshbdd.mesh.linkerd.security import services_of
from meshbdd.mesh.linkerd.servers import ACCESS, DENY, OPEN, skips
from meshbdd.mesh.linkerd.turning import key

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """A step that is in force at a port of a pod.

    Attributes:
        intent: The step's.
        plan: Its plan.
        service: The service by which the step is about the pod.
        pod: The pod.
        port: Its port.
    """

    intent: Access | MutualTls
    plan: Plan
    service: ServiceRef
    pod: Object
    port: int


def holds(kept: Kept, server: Object | None) -> bool:
    """Whether a step is in force where a Server decides, or the default of a pod: ``only`` is by policies for one of its own."""
    if server is None:
        return isinstance(kept.intent, MutualTls) and default_of(kept.pod) not in {None, *OPEN}
    access = server["spec"].get(ACCESS[-1], DENY)
    if isinstance(kept.intent, MutualTls):
        return access not in OPEN
    return access == DENY and key(server) in {edit.target for edit in kept.plan.edits}


def default_of(pod: Object) -> str | None:
    """What a pod itself says of who may call it where no Server decides; ``None``: the mesh's default counts."""
    return (pod["metadata"].get("annotations") or {}).get(DEFAULT_POLICY)


def kept_out(catalog: Catalog, in_force: Sequence[Plan], *, past: bool = False) -> Iterator[Kept]:
    """Where steps in force keep callers out; of modes for a port of a pod the latest is in force.

    Args:
        catalog: Reads the cluster.
        in_force: The plans that are in force.
        past: Have those ports alone, instead, at which the proxies would have to, but let all calls pass unseen.
    """
    for plan in in_force:
        intent = plan.intent
        if isinstance(intent, Access) and catalog.find("Service", intent.service.name, intent.service.namespace):
            for pod, port in ports_at(catalog, intent.service, past=past):
                yield Kept(intent, plan, intent.service, pod, port)
    for kept in modes_at(catalog, in_force, past=past).values():
        if isinstance(kept.intent, MutualTls) and kept.intent.mode is TlsMode.STRICT:
            yield kept


def modes_at(
    catalog: Catalog, in_force: Sequence[Plan], *, past: bool = False
) -> Mapping[tuple[str, str, str, int], Kept]:
    """The mode of mutual TLS that is in force at each port of pods, as steps have set it."""
    found: dict[tuple[str, str, str, int], Kept] = {}
    for plan in in_force:
        intent = plan.intent
        if not isinstance(intent, MutualTls):
            continue
        services = (intent.service,) if intent.service else services_of(catalog, intent.namespace)
        for service in services:
            if catalog.find("Service", service.name, service.namespace) is None:
                continue  # it went with the manifest that brought it
            for pod, port in ports_at(catalog, service, past=past):
                found[(*key(pod), port)] = Kept(intent, plan, service, pod, port)
    return found


def ports_at(catalog: Catalog, service: ServiceRef, *, past: bool = False) -> Iterator[tuple[Object, int]]:
    """The ports of the pods behind a service that their proxies see; where there is none, those of one that may come.

    Args:
        catalog: Reads the cluster.
        service: The service.
        past: Have those that they do not see, instead.
    """
    for part in behind(catalog, service):
        meta = {"name": service.name, "namespace": service.namespace, "labels": dict(part.labels)}
        to_come: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}}
        for pod in part.pods or [to_come]:
            for port in part.ports_at(pod):
                if skips(pod, port) is past:
                    yield pod, port


def accounts_of(plan: Plan) -> Accounts:
    """The service accounts of the caller whom a step lets pass, as it wrote them: by now its pods may be gone."""
    made = (edit.new["spec"].get("identityRefs") or () for edit in plan.edits if edit.new is not None)
    return frozenset((ref["name"], ref["namespace"]) for refs in made for ref in refs)
