"""AuthorizationPolicy and ServerAuthorization → who may call.

linkerd2 policy-controller/k8s/index/src/inbound/{authorization_policy,index,meshtls_authentication,server_authorization}.rs
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from meshbdd.lab.linkerd.model import Authorization, Default, Identities, Network, Resource
from meshbdd.lab.linkerd.objects import CORE, POLICY, Objects, group_of
from meshbdd.lab.linkerd.settings import DEFAULT_POLICIES, ControlPlaneSettings

Object = Mapping[str, Any]

EVERYWHERE: tuple[Network, ...] = (Network("0.0.0.0/0"), Network("::/0"))
ANYONE = Identities(suffixes=((),))


class Illegal(ValueError):
    """A policy that Linkerd leaves out, in its words."""


def of_default(policy: str, settings: ControlPlaneSettings) -> tuple[Authorization, ...]:
    """What a default policy allows; one that Linkerd does not know allows nobody."""
    if policy == "deny" or policy not in DEFAULT_POLICIES:
        return ()
    networks = EVERYWHERE
    if policy.startswith("cluster-"):
        networks = tuple(Network(cidr) for cidr in settings.cluster_networks)
    return (Authorization(Default(policy), networks, ANYONE if policy.endswith("-authenticated") else None),)


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector picks an object; an empty one picks all."""
    wanted = (selector or {}).get("matchLabels") or {}
    if any(labels.get(name) != value for name, value in wanted.items()):
        return False
    for expression in (selector or {}).get("matchExpressions") or []:
        value, values = labels.get(expression["key"]), expression.get("values") or []
        held = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not held[expression["operator"]]:
            return False
    return True


class Authorizations:
    """Answers who may call a Server or one of its routes.

    Args:
        objects: What the control plane watches.
        settings: How it was installed.
        warn: Takes what the controller would log.
    """

    def __init__(self, objects: Objects, settings: ControlPlaneSettings, warn: Callable[[str], None]) -> None:
        self._objects = objects
        self._settings = settings
        self._warn = warn
        self._server_authorizations = tuple(self._readable())

    def of_server(self, server: Object) -> tuple[Authorization, ...]:
        """The policies that name a Server or its namespace, and the older ServerAuthorizations."""
        name, namespace = server["metadata"]["name"], server["metadata"]["namespace"]
        found = [*self._of_server_authorizations(server)]
        for policy in self._objects.of("AuthorizationPolicy"):
            target = policy["spec"]["targetRef"]
            own = policy["metadata"]["namespace"] == namespace
            here = (target.get("kind"), target.get("name")) in {("Server", name), ("Namespace", namespace)}
            if own and here:
                found += self._allowed(policy, name)
        return tuple(sorted(found, key=lambda a: str(a.meta)))

    def of_route(self, route: Object, server: str) -> tuple[Authorization, ...]:
        """The policies that name a route."""
        meta = route["metadata"]
        found: list[Authorization] = []
        for policy in self._objects.of("AuthorizationPolicy"):
            target = policy["spec"]["targetRef"]
            named = (target.get("group"), target.get("kind"), target.get("name"))
            if policy["metadata"]["namespace"] == meta["namespace"] and named == (
                group_of(route),
                route["kind"],
                meta["name"],
            ):
                found += self._allowed(policy, server)
        return tuple(sorted(found, key=lambda a: str(a.meta)))

    def _allowed(self, policy: Object, server: str) -> Iterator[Authorization]:
        name = policy["metadata"]["name"]
        try:
            yield self._authorization(policy)
        except Illegal as error:
            self._warn(
                f"INFO Illegal AuthorizationPolicy; ignoring server={server} authorizationpolicy={name} error={error}"
            )

    def _authorization(self, policy: Object) -> Authorization:
        namespace = policy["metadata"]["namespace"]
        identities, networks = None, EVERYWHERE
        for ref in policy["spec"].get("requiredAuthenticationRefs") or []:
            where = ref.get("namespace") or namespace
            group, kind = ref.get("group") or CORE, ref["kind"]
            if (group, kind) == (CORE, "ServiceAccount"):
                identities = Identities((self._settings.identity(where, ref["name"]),))
            elif (group, kind) == (POLICY, "MeshTLSAuthentication"):
                identities = self._identities(self._authentication(kind, where, ref["name"]))
            elif (group, kind) == (POLICY, "NetworkAuthentication"):
                networks = _networks(self._authentication(kind, where, ref["name"])["spec"].get("networks"))
            else:
                raise Illegal(f"unsupported authentication kind {group}/{kind}")
        meta = Resource(POLICY, "authorizationpolicy", policy["metadata"]["name"])
        return Authorization(meta, networks, identities)

    def _authentication(self, kind: str, namespace: str, name: str) -> Object:
        found = self._objects.find(kind, namespace, name)
        if found is None:
            raise Illegal(f"could not find {kind} {name} in namespace {namespace}")
        return found

    def _identities(self, authentication: Object) -> Identities:
        namespace, spec = authentication["metadata"]["namespace"], authentication["spec"]
        names: list[str] = []
        suffixes: list[tuple[str, ...]] = []
        for ref in spec.get("identityRefs") or []:
            if ref["kind"] == "Namespace":
                suffixes.append(tuple(f"{ref['name']}.{self._settings.identity_suffix}".split(".")))
            else:
                names.append(self._settings.identity(ref.get("namespace") or namespace, ref["name"]))
        for text in spec.get("identities") or []:
            _add_identity(text, names, suffixes)
        return Identities(tuple(names), tuple(suffixes))

    def _readable(self) -> Iterator[tuple[Object, Authorization]]:
        """The ServerAuthorizations that are in effect; of the others Linkerd says so once, whatever they pick."""
        for authorization in self._objects.of("ServerAuthorization"):
            meta = authorization["metadata"]
            try:
                yield authorization, self._server_authorization(authorization)
            except Illegal as error:
                self._warn(
                    f"WARN Illegal server authorization update ns={meta['namespace']} name={meta['name']} error={error}"
                )

    def _of_server_authorizations(self, server: Object) -> Iterator[Authorization]:
        meta = server["metadata"]
        for authorization, allowed in self._server_authorizations:
            if authorization["metadata"]["namespace"] != meta["namespace"]:
                continue
            target = authorization["spec"]["server"]
            named = target.get("name") == meta["name"]
            if named or (target.get("selector") is not None and selects(target["selector"], meta.get("labels") or {})):
                yield allowed

    def _server_authorization(self, authorization: Object) -> Authorization:
        meta, client = authorization["metadata"], authorization["spec"]["client"]
        networks = _networks(client.get("networks"))
        if not client.get("networks"):
            networks = tuple(Network(cidr) for cidr in self._settings.cluster_networks)
        identities = None if client.get("unauthenticated") else self._clients(client.get("meshTLS"), meta["namespace"])
        return Authorization(Resource(POLICY, "serverauthorization", meta["name"]), networks, identities)

    def _clients(self, tls: Object | None, namespace: str) -> Identities:
        if tls is None:
            raise Illegal("no client authentication configured")
        if tls.get("unauthenticatedTLS"):
            return Identities(unverified=True)
        names = [
            self._settings.identity(ref.get("namespace") or namespace, ref["name"])
            for ref in tls.get("serviceAccounts") or []
        ]
        suffixes: list[tuple[str, ...]] = []
        for text in tls.get("identities") or []:
            _add_identity(text, names, suffixes)
        if not names and not suffixes:
            raise Illegal("authorization authorizes no clients")
        return Identities(tuple(names), tuple(suffixes))


def _add_identity(text: str, names: list[str], suffixes: list[tuple[str, ...]]) -> None:
    if text == "*":
        suffixes.append(())
    elif text.startswith("*."):
        suffixes.append(tuple(text[2:].split(".")))
    else:
        names.append(text)


def _networks(entries: list[Object] | None) -> tuple[Network, ...]:
    return tuple(Network(entry["cidr"], tuple(entry.get("except") or ())) for entry in entries or [])
