"""A Server's policies add up: one that lets pass whom a step keeps out makes the step untrue, whichever of the two came first.

linkerd2 policy-controller/k8s/index/src/inbound/{authorization_policy,server_authorization,meshtls_authentication}.rs
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from meshbdd.cluster.kinds import kind_of
from meshbdd.errors import BadInput
from meshbdd.intents import Access, MutualTls
from meshbdd.mesh.base import Plan
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.authorizing import (
    AUTHORIZATION,
    SERVER_AUTHORIZATION,
    Object,
    has_what_it_requires,
    is_for,
    is_for_whole,
    kind_at,
    required,
    routes_for,
)
from meshbdd.mesh.linkerd.objects import ROUTE_KINDS, routes_of
from meshbdd.mesh.linkerd.probes import are_for_probes_alone

Accounts = frozenset[tuple[str, str]]
"""Service accounts: name and namespace."""


def undoing(catalog: Catalog, server: Object, accounts: Accounts | None) -> Iterator[Object]:
    """The policies for a Server, for a route of it, or for all of its namespace that let pass whom a step keeps out.

    One for a route of the kubelet's probes is none: they have no identity, and what they ask for is all that it opens.

    Args:
        catalog: Reads the cluster.
        server: The Server.
        accounts: Those of the only caller that is to pass; ``None``: whoever has an identity is.
    """
    home = server["metadata"]["namespace"]
    routes = routes_of(catalog, home)
    for kind in (AUTHORIZATION, SERVER_AUTHORIZATION):
        for policy in catalog.all(kind, home):
            if not is_for(policy, server, routes) or not _lets_others_pass(catalog, policy, accounts):
                continue
            if not _is_for_probes_alone(catalog, policy, server, routes):
                yield policy


def _is_for_probes_alone(catalog: Catalog, policy: Object, server: Object, routes: Iterable[Object]) -> bool:
    if kind_of(policy) == SERVER_AUTHORIZATION or is_for_whole(policy, server):
        return False
    return are_for_probes_alone(catalog, routes_for(policy, server, routes), server)


def refuse_undone(
    catalog: Catalog, intent: Access | MutualTls, server: Object, accounts: Accounts | None, in_force: Sequence[Plan]
) -> None:
    """See that no policy makes a step untrue that is to be in force at a Server.

    Args:
        catalog: Reads the cluster.
        intent: The step's.
        server: The Server, as it is or will be there.
        accounts: Those of the only caller that is to pass; ``None``: whoever has an identity is.
        in_force: What is in force: the policy may be one of these.

    Raises:
        BadInput: one does.
    """
    for policy in undoing(catalog, server, accounts):
        maker = next((plan for plan in in_force if isinstance(plan.intent, Access) and _makes(plan, policy)), None)
        if maker is not None and isinstance(intent, Access) and isinstance(maker.intent, Access):
            raise _of_two_steps(intent, maker.intent)
        raise adds_up(intent, policy, f"«{intent}» would not come true")


def _of_two_steps(intent: Access, other: Access) -> BadInput:
    shared = f", as {other.service} and {intent.service} share pods" if other.service != intent.service else ""
    return BadInput(
        "MB0448",
        f"«{intent}» would not come true: «{other}» is in force and lets {other.caller} pass as well{shared}, and Linkerd's "
        "policies add up.",
        help="have the two steps in different scenarios",
    )


def adds_up(intent: Access | MutualTls, policy: Object, what: str, whose: str = "") -> BadInput:
    """Why a step is not true, or would not be, beside a policy.

    Args:
        intent: The step's.
        policy: The policy.
        what: What would become of the step.
        whose: Where the policy comes from, behind its name.
    """
    name = policy["metadata"]["name"]
    if isinstance(intent, Access):
        whom, action = "callers", f"have {name} let nobody pass but {intent.caller}"
    elif kind_of(policy) == SERVER_AUTHORIZATION:
        whom, action = "callers without an identity", f"let {name} name the callers' identities (client.meshTLS)"
    else:
        whom, action = "callers without an identity", f"let {name} require a MeshTLSAuthentication as well"
    target = policy["spec"].get("targetRef") or {}
    if target and kind_at(target) in ROUTE_KINDS:
        action = f"where it is for probes let {target['kind']} {target['name']} match GET of their paths alone (type: Exact), else {action}"
    return BadInput(
        "MB0448",
        f"{what}: {policy['kind']} {name}{whose} lets {whom} pass{' as well' if isinstance(intent, Access) else ''}, and "
        "Linkerd's policies add up.",
        help=action,
    )


def _makes(plan: Plan, policy: Object) -> bool:
    meta = policy["metadata"]
    return (kind_of(policy), meta["name"], meta["namespace"]) in {edit.target for edit in plan.edits}


def _lets_others_pass(catalog: Catalog, policy: Object, accounts: Accounts | None) -> bool:
    """Whether a policy lets callers pass that show no identity, or none of those of some accounts.

    All that an AuthorizationPolicy requires has to be shown, so one identity of these is enough.
    """
    if kind_of(policy) == SERVER_AUTHORIZATION:
        client = policy["spec"].get("client") or {}
        tls = client.get("meshTLS") or {}
        if client.get("unauthenticated") or tls.get("unauthenticatedTLS"):
            return True
        return accounts is not None and not _are_among(
            accounts, policy, tls.get("identities") or (), tls.get("serviceAccounts") or ()
        )
    if not has_what_it_requires(catalog, policy):
        return False
    return not any(_keeps_others_out(catalog, ref, accounts) for ref in required(policy))


def _keeps_others_out(catalog: Catalog, ref: tuple[str, str, str], accounts: Accounts | None) -> bool:
    kind, home, name = ref
    if kind == "ServiceAccount":
        return accounts is None or (name, home) in accounts
    if kind != "MeshTLSAuthentication":
        return False
    there = (found for found in catalog.all(kind, home) if found["metadata"]["name"] == name)
    return accounts is None or all(
        _are_among(accounts, found, found["spec"].get("identities") or (), found["spec"].get("identityRefs") or ())
        for found in there
    )


def _are_among(accounts: Accounts, holder: Object, identities: Iterable[str], refs: Iterable[Object]) -> bool:
    """Whether identities and references to them, of which there is one at least, are all of some accounts.

    An identity begins with the account's name and its namespace; what follows is the same throughout a mesh.
    """
    starts = tuple(f"{name}.{home}.serviceaccount.identity." for name, home in accounts)
    found = [identity.startswith(starts) for identity in identities]
    for ref in refs:
        place = str(ref["name"]), str(ref.get("namespace") or holder["metadata"]["namespace"])
        found.append(ref.get("kind", "ServiceAccount") == "ServiceAccount" and place in accounts)
    return bool(found) and all(found)
