"""MeshTLSAuthentication and NetworkAuthentication → identities and networks.

linkerd2 policy-controller/k8s/index/src/inbound/{meshtls_authentication,network_authentication}.rs,
policy-controller/core/src/identity_match.rs
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from meshbdd.lab.linkerd.model import Identities, Network
from meshbdd.lab.linkerd.objects import CORE, Objects
from meshbdd.lab.linkerd.read.targets import canonical, targets
from meshbdd.lab.linkerd.settings import ControlPlaneSettings
from meshbdd.lab.linkerd.values import Unreadable

Object = Mapping[str, Any]
_Read = TypeVar("_Read")


def networks_of(entries: Iterable[Object] | None) -> tuple[Network, ...]:
    """Blocks of addresses with their exceptions."""
    return tuple(Network(entry["cidr"], tuple(entry.get("except") or ())) for entry in entries or [])


def identities_of(texts: Iterable[str] | None, names: Iterable[str] = (), suffixes: Iterable[str] = ()) -> Identities:
    """Identities as written (``*`` and ``*.SUFFIX`` stand for many), beside names and suffixes that are known as such."""
    exact, ends = list(names), [tuple(suffix.split(".")) for suffix in suffixes]
    for text in texts or []:
        if text == "*":
            ends.append(())
        elif text.startswith("*."):
            ends.append(tuple(text[2:].split(".")))
        else:
            exact.append(text)
    return Identities(tuple(exact), tuple(ends))


class Authentications:
    """Finds authentications, from any namespace.

    Args:
        objects: What the control plane watches.
        settings: How it was installed.
        warn: Takes what the controller would log of those that it leaves out.
    """

    def __init__(self, objects: Objects, settings: ControlPlaneSettings, warn: Callable[[str], None]) -> None:
        self._settings = settings
        self._warn = warn
        self._identities = self._read(objects, "MeshTLSAuthentication", self._mesh_tls)
        self._networks = self._read(objects, "NetworkAuthentication", self._network)

    def identities(self, namespace: str, name: str) -> Identities:
        """The identities of a MeshTLSAuthentication.

        Raises:
            Unreadable: there is none that could be read.
        """
        return _found(self._identities, "MeshTLSAuthentication", namespace, name)

    def networks(self, namespace: str, name: str) -> tuple[Network, ...]:
        """The networks of a NetworkAuthentication.

        Raises:
            Unreadable: there is none that could be read.
        """
        return _found(self._networks, "NetworkAuthentication", namespace, name)

    def _read(self, objects: Objects, kind: str, read: Callable[[Object], _Read]) -> dict[tuple[str, str], _Read]:
        made = {}
        for obj in objects.of(kind):
            meta = obj["metadata"]
            try:
                made[meta["namespace"], meta["name"]] = read(obj)
            except Unreadable as error:
                self._warn(f"WARN Invalid {kind} ns={meta['namespace']} name={meta['name']} error={error}")
        return made

    def _mesh_tls(self, obj: Object) -> Identities:
        spec, names, suffixes = obj["spec"], [], []
        for ref in spec.get("identityRefs") or []:
            if targets(ref, CORE, "ServiceAccount"):
                names.append(self._settings.identity(ref.get("namespace") or obj["metadata"]["namespace"], ref["name"]))
            elif targets(ref, CORE, "Namespace"):
                suffixes.append(f"{ref['name']}.{self._settings.identity_suffix}")
            else:
                raise Unreadable(f'unsupported target type: "{canonical(ref)}"')
        found = identities_of(spec.get("identities"), names, suffixes)
        if not found.names and not found.suffixes:
            raise Unreadable("No identities configured")
        return found

    @staticmethod
    def _network(obj: Object) -> tuple[Network, ...]:
        found = networks_of(obj["spec"].get("networks"))
        if not found:
            raise Unreadable("No networks configured")
        return found


def _found(known: Mapping[tuple[str, str], _Read], kind: str, namespace: str, name: str) -> _Read:
    try:
        return known[namespace, name]
    except KeyError:
        raise Unreadable(f"could not find {kind} {name} in namespace {namespace}") from None
