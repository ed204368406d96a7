"""AuthorizationPolicy and ServerAuthorization → who may call.

linkerd2 policy-controller/k8s/index/src/inbound/{authorization_policy,index,server_authorization}.rs
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from meshbdd.lab.linkerd.model import Authorization, Default, Identities, Network, Resource
from meshbdd.lab.linkerd.objects import CORE, GATEWAY, POLICY, Objects, group_of
from meshbdd.lab.linkerd.read.authentications import Authentications, identities_of, networks_of
from meshbdd.lab.linkerd.read.selectors import selects
from meshbdd.lab.linkerd.read.targets import canonical, targets
from meshbdd.lab.linkerd.settings import DEFAULT_POLICIES, ControlPlaneSettings
from meshbdd.lab.linkerd.values import Unreadable

Object = Mapping[str, Any]
_Read = TypeVar("_Read")

EVERYWHERE: tuple[Network, ...] = (Network("0.0.0.0/0"), Network("::/0"))
ANYONE = Identities(suffixes=((),))


def of_default(policy: str, settings: ControlPlaneSettings) -> tuple[Authorization, ...]:
    """What a default policy allows; one that Linkerd does not know allows nobody."""
    if policy == "deny" or policy not in DEFAULT_POLICIES:
        return ()
    networks = EVERYWHERE
    if policy.startswith("cluster-"):
        networks = tuple(Network(cidr) for cidr in settings.cluster_networks)
    return (Authorization(Default(policy), networks, ANYONE if policy.endswith("-authenticated") else None),)


@dataclass(frozen=True, slots=True)
class _Policy:
    """An AuthorizationPolicy. ``refs``: kind, namespace and name of what a caller has to show, all of it."""

    namespace: str
    name: str
    target: tuple[str, ...]
    refs: tuple[tuple[str, str, str], ...]


_NAMESPACE = ("Namespace",)
_ROUTES = ((POLICY, "HTTPRoute"), (GATEWAY, "HTTPRoute"), (GATEWAY, "GRPCRoute"))
AUTHENTICATIONS = ((POLICY, "MeshTLSAuthentication"), (POLICY, "NetworkAuthentication"), (CORE, "ServiceAccount"))


def target_of(ref: Object) -> tuple[str, ...]:
    """What an AuthorizationPolicy is for: a Server, a route (in lower case, as case does not count) or its namespace.

    Raises:
        Unreadable: anything else.
    """
    if targets(ref, POLICY, "Server"):
        return "Server", ref["name"]
    if targets(ref, CORE, "Namespace"):
        # Its own, whatever name is said.
        return _NAMESPACE
    if any(targets(ref, *route) for route in _ROUTES):
        return ref["group"].lower(), ref["kind"].lower(), ref["name"].lower()
    raise Unreadable(f"unsupported authorization target type: {canonical(ref)}")


def authentication_kind(ref: Object) -> str:
    """The kind that a required authentication is of.

    Raises:
        Unreadable: one that Linkerd does not know.
    """
    for group, kind in AUTHENTICATIONS:
        if targets(ref, group, kind):
            return kind
    raise Unreadable(f"unsupported authentication target: {canonical(ref)}")


class Authorizations:
    """Answers who may call a Server or one of its routes.

    Args:
        objects: What the control plane watches.
        settings: How it was installed.
        warn: Takes what the controller would log.
    """

    def __init__(self, objects: Objects, settings: ControlPlaneSettings, warn: Callable[[str], None]) -> None:
        self._settings = settings
        self._warn = warn
        self._authentications = Authentications(objects, settings, warn)
        self._policies = self._readable(objects.of("AuthorizationPolicy"), _policy)
        self._server_authorizations = self._readable(objects.of("ServerAuthorization"), self._server_authorization)

    def of_server(self, server: Object) -> tuple[Authorization, ...]:
        """The policies that name a Server or its namespace, and the older ServerAuthorizations."""
        name, namespace = server["metadata"]["name"], server["metadata"]["namespace"]
        found = [*self._of_server_authorizations(server)]
        for policy in self._policies:
            if policy.namespace == namespace and policy.target in {("Server", name), _NAMESPACE}:
                found += self._allowed(policy, f"server={name}")
        return tuple(sorted(found, key=lambda a: str(a.meta)))

    def of_route(self, route: Object) -> tuple[Authorization, ...]:
        """The policies that name a route."""
        meta = route["metadata"]
        named = (group_of(route).lower(), route["kind"].lower(), meta["name"].lower())
        where = f'route=GroupKindName {{ group: "{group_of(route)}", kind: "{route["kind"]}", name: "{meta["name"]}" }}'
        found: list[Authorization] = []
        for policy in self._policies:
            if policy.namespace == meta["namespace"] and policy.target == named:
                found += self._allowed(policy, where)
        return tuple(sorted(found, key=lambda a: str(a.meta)))

    def _readable(self, objects: list[Object], read: Callable[[Object], _Read]) -> tuple[_Read, ...]:
        """Those that are in effect; of the others Linkerd says so once, whatever they are for."""
        made = []
        for obj in objects:
            meta = obj["metadata"]
            try:
                made.append(read(obj))
            except Unreadable as error:
                self._warn(
                    f"WARN Illegal server authorization update ns={meta['namespace']} name={meta['name']} error={error}"
                )
        return tuple(made)

    def _allowed(self, policy: _Policy, where: str) -> Iterator[Authorization]:
        try:
            yield self._authorization(policy)
        except Unreadable as error:
            self._warn(
                f"INFO Illegal AuthorizationPolicy; ignoring {where} authorizationpolicy={policy.name} error={error}"
            )

    def _authorization(self, policy: _Policy) -> Authorization:
        identities = None
        for kind, namespace, name in policy.refs:
            if kind == "NetworkAuthentication":
                continue
            if kind == "ServiceAccount":
                found = Identities((self._settings.identity(namespace, name),))
            else:
                found = self._authentications.identities(namespace, name)
            if identities is not None:
                raise Unreadable(f"policy must not include multiple {kind}s")
            identities = found
        networks = None
        for kind, namespace, name in policy.refs:
            if kind != "NetworkAuthentication":
                continue
            blocks = self._authentications.networks(namespace, name)
            if networks is not None:
                raise Unreadable(f"policy must not include multiple {kind}s")
            networks = blocks
        meta = Resource(POLICY, "authorizationpolicy", policy.name)
        return Authorization(meta, EVERYWHERE if networks is None else networks, identities)

    def _of_server_authorizations(self, server: Object) -> Iterator[Authorization]:
        meta = server["metadata"]
        for authorization, allowed in self._server_authorizations:
            if authorization["metadata"]["namespace"] != meta["namespace"]:
                continue
            target = authorization["spec"]["server"]
            name = target.get("name")
            # A name beats a selector, and no selector picks every Server.
            if name == meta["name"] if name is not None else selects(target.get("selector"), meta.get("labels") or {}):
                yield allowed

    def _server_authorization(self, authorization: Object) -> tuple[Object, Authorization]:
        meta, client = authorization["metadata"], authorization["spec"]["client"]
        networks = networks_of(client.get("networks"))
        if not networks:
            networks = tuple(Network(cidr) for cidr in self._settings.cluster_networks)
        identities = None if client.get("unauthenticated") else self._clients(client.get("meshTLS"), meta["namespace"])
        return authorization, Authorization(Resource(POLICY, "serverauthorization", meta["name"]), networks, identities)

    def _clients(self, tls: Object | None, namespace: str) -> Identities:
        if tls is None:
            raise Unreadable("no client authentication configured")
        if tls.get("unauthenticatedTLS"):
            return Identities(unverified=True)
        accounts = [
            self._settings.identity(ref.get("namespace") or namespace, ref["name"])
            for ref in tls.get("serviceAccounts") or []
        ]
        found = identities_of(tls.get("identities"), accounts)
        if not found.names and not found.suffixes:
            raise Unreadable("authorization authorizes no clients")
        return found


def _policy(policy: Object) -> _Policy:
    meta, spec = policy["metadata"], policy["spec"]
    target = target_of(spec["targetRef"])
    refs = tuple(
        (authentication_kind(ref), ref.get("namespace") or meta["namespace"], ref["name"])
        for ref in spec.get("requiredAuthenticationRefs") or []
    )
    return _Policy(meta["namespace"], meta["name"], target, refs)
