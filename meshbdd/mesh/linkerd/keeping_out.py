"""Whom steps in force keep out: no manifest that comes after them may let these pass, by a policy or by a Server that it changes."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from meshbdd.cluster.kinds import kind_of
from meshbdd.errors import BadInput
from meshbdd.intents import Access, MutualTls, ServiceRef, TlsMode
from meshbdd.mesh.base import Plan
from meshbdd.mesh.beside import BEFORE
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.adding_up import Accounts, adds_up, undoing
from meshbdd.mesh.linkerd.security import servers_at, services_of
from meshbdd.mesh.linkerd.servers import ACCESS, DENY

Key = tuple[str, str, str]
"""Kind, name and namespace."""

_OPEN = {"all-unauthenticated", "cluster-unauthenticated", "audit"}
"""The access policies of Servers that let callers without an identity pass."""


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
    written = {_key(document) for document in documents}
    for intent, service, plan in _kept_out(catalog, in_force):
        if isinstance(intent, MutualTls):
            _refuse_servers(catalog, after, service, written, plan)
        own = {edit.target for edit in plan.edits}
        accounts = _accounts_of(plan) if isinstance(intent, Access) else None
        for server, edit in servers_at(after, service, DENY):
            there = server or edit.new or {}
            before = [_key(policy) for policy in undoing(catalog, there, accounts)]
            for found in undoing(after, there, accounts):
                if _key(found) not in own and _key(found) not in before:
                    whose = " of the manifest" if _key(found) in written else ""
                    what = f"With the manifest «{plan.summary}» would not be true any more"
                    raise adds_up(intent, found, what, whose)


def _refuse_servers(catalog: Catalog, after: Catalog, service: ServiceRef, written: Container[Key], plan: Plan) -> None:
    """See that a manifest leaves the Servers as they are that strict mutual TLS found as it wants them, and did not change.

    Raises:
        BadInput: it opens one, or takes it away from pods for which none decides then.
    """
    before, then = ([*servers_at(there, service, DENY)] for there in (catalog, after))
    bare = {edit.name for server, edit in then if server is None} - {e.name for server, e in before if server is None}
    opened = {edit.name for server, edit in then if server is not None and server["spec"].get(ACCESS[-1]) in _OPEN}
    for server, edit in before:
        if server is None or _key(server) not in written or not (bare or edit.name in opened):
            continue
        how = (
            f"open Server {edit.name}"
            if edit.name in opened
            else f"take Server {edit.name} away from pods of {service}"
        )
        raise BadInput(
            "MB0471",
            f"The manifest would {how}, by which «{plan.summary}» is in force, so that would be lost.",
            help=BEFORE,
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


def _key(obj: Mapping[str, Any]) -> Key:
    return kind_of(obj), obj["metadata"]["name"], obj["metadata"].get("namespace", "")
