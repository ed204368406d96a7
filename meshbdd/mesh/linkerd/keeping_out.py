"""Whom steps in force keep out: no manifest that comes after them may let these pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meshbdd.cluster.kinds import kind_of
from meshbdd.intents import Access, MutualTls, ServiceRef, TlsMode
from meshbdd.mesh.base import Plan
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.adding_up import Accounts, adds_up, is_open, undoing
from meshbdd.mesh.linkerd.security import servers_at, services_of
from meshbdd.mesh.linkerd.servers import DENY


def refuse_let_in(catalog: Catalog, documents: Sequence[Mapping[str, Any]], in_force: Sequence[Plan]) -> None:
    """See that a manifest lets nobody pass whom a step in force keeps out.

    Args:
        catalog: Reads the cluster.
        documents: The manifest's.
        in_force: The plans that are in force.

    Raises:
        BadInput: with it somebody would pass.
    """
    after = catalog.with_written(dict(document) for document in documents)
    written = {(kind_of(d), d["metadata"]["name"], d["metadata"].get("namespace")) for d in documents}
    for intent, service, plan in _kept_out(catalog, in_force):
        own = {edit.target for edit in plan.edits}
        for server, edit in servers_at(after, service, DENY):
            there = server or edit.new or {}
            accounts = _accounts_of(plan) if isinstance(intent, Access) else None
            before = [_key(policy) for policy in undoing(catalog, there, accounts)]
            opened = [there] if accounts is None and server is not None and is_open(server) else []
            for found in (*(o for o in opened if _key(o) in written), *undoing(after, there, accounts)):
                if _key(found) not in own and _key(found) not in before:
                    whose = " of the manifest" if _key(found) in written else ""
                    raise adds_up(
                        intent, found, f"With the manifest «{plan.summary}» would not be true any more", whose
                    )


def _kept_out(catalog: Catalog, in_force: Sequence[Plan]) -> Iterator[tuple[Access | MutualTls, ServiceRef, Plan]]:
    """The steps in force that keep callers out, each with the service; of modes of a service the latest is in force."""
    modes: dict[ServiceRef, tuple[MutualTls, Plan]] = {}
    for plan in in_force:
        intent = plan.intent
        if isinstance(intent, Access):
            yield intent, intent.service, plan
        elif isinstance(intent, MutualTls):
            services = (intent.service,) if intent.service else services_of(catalog, intent.namespace)
            modes |= dict.fromkeys(services, (intent, plan))
    for service, (mode, plan) in modes.items():
        if mode.mode is TlsMode.STRICT:
            yield mode, service, plan


def _accounts_of(plan: Plan) -> Accounts:
    """The service accounts of the caller whom a step lets pass, as it wrote them: by now its pods may be gone."""
    made = (edit.new["spec"].get("identityRefs") or () for edit in plan.edits if edit.new is not None)
    return frozenset((ref["name"], ref["namespace"]) for refs in made for ref in refs)


def _key(obj: Mapping[str, Any]) -> tuple[str, str, str]:
    return kind_of(obj), obj["metadata"]["name"], obj["metadata"]["namespace"]
