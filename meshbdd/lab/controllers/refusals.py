"""What Envoy refuses: its sentence goes to the object that asked for it, as a condition in the object's status.

Envoy answers a configuration that it does not take with a sentence of its own (a NACK) and keeps the old one. Which
object is behind it, Envoy does not know; it is one of those that changed since this sidecar last took everything.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.lab.api.core import Api
from meshbdd.lab.api.errors import ApiError
from meshbdd.lab.xds.resources import CLUSTER, EXTENSION, LISTENER, ROUTES

_log = logging.getLogger(__name__)

CONDITION, REASON = "Programmed", "RefusedByEnvoy"
ROOT_NAMESPACE = "istio-system"

_KINDS = {
    "virtualservices.networking.istio.io": {ROUTES},
    "httproutes.gateway.networking.k8s.io": {ROUTES},
    "destinationrules.networking.istio.io": {CLUSTER, ROUTES},
    "sidecars.networking.istio.io": {CLUSTER, LISTENER, ROUTES},
    "envoyfilters.networking.istio.io": {CLUSTER, EXTENSION, LISTENER},
    "authorizationpolicies.security.istio.io": {LISTENER},
    "peerauthentications.security.istio.io": {LISTENER},
}
"""Resource → the types of configuration that it has a part in."""
_OF_ONE_NAMESPACE = frozenset({"envoyfilters.networking.istio.io", "authorizationpolicies.security.istio.io"})
"""What reaches only workloads of its own namespace, or all from the root namespace."""

Key = tuple[str, str, str]
"""Resource, namespace, name."""


class Refusals:
    """Remembers what each sidecar took last, and writes down what it refuses.

    Args:
        api: The lab's API.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._sent: dict[str, Mapping[Key, int]] = {}
        self._taken: dict[str, Mapping[Key, int]] = {}
        self._refused: set[str] = set()
        self._blamed: set[tuple[Key, int]] = set()

    def versions(self) -> dict[Key, int]:
        """The generation of every object that may be refused."""
        return {
            (resource, obj["metadata"]["namespace"], obj["metadata"]["name"]): obj["metadata"].get("generation", 1)
            for resource in _KINDS
            if self._api.registry.get(resource)
            for obj in self._api.list(resource)
        }

    def sending(self, node: str, versions: Mapping[Key, int], *, settled: bool) -> None:
        """A push begins.

        Args:
            node: The sidecar's node id.
            versions: What the push is made of.
            settled: Whether the sidecar has answered for everything that it was sent before.
        """
        if settled and node not in self._refused and node in self._sent:
            self._taken[node] = {k: v for k, v in self._sent[node].items() if (k, v) not in self._blamed}
        if self._sent.get(node) != versions:
            self._refused.discard(node)
        self._sent[node] = versions

    def forget(self, node: str) -> None:
        """Drop a sidecar that is gone."""
        self._refused.discard(node)
        for held in (self._sent, self._taken):
            held.pop(node, None)

    def refused(self, node: str, pod: str, namespace: str, type_url: str, sentence: str) -> list[str]:
        """Write Envoy's sentence to the objects that may be behind it.

        Returns:
            Their names; empty where none is.
        """
        self._refused.add(node)
        message, told = f"{pod}.{namespace}: {sentence}", []
        suspects = self._suspects(node, namespace, type_url)
        # The same sentence again is the same object's, whatever else has changed since.
        for key in [key for key in suspects if self._says(key, message)] or suspects:
            if self._write(key, message):
                self._blamed.add((key, self._sent[node][key]))
                told.append("{} {} in {}".format(*_shown(key)))
        names = ", or ".join(told) or "no object that changed"
        _log.warning(
            "Envoy of %s.%s refused a %s (%s): %s", pod, namespace, type_url.rpartition(".")[2], names, sentence
        )
        return told

    def _suspects(self, node: str, namespace: str, type_url: str) -> list[Key]:
        before = self._taken.get(node, {})
        return [
            key
            for key, version in self._sent.get(node, {}).items()
            if before.get(key) != version
            and type_url in _KINDS[key[0]]
            and (key[0] not in _OF_ONE_NAMESPACE or key[1] in {namespace, ROOT_NAMESPACE})
        ]

    def _says(self, key: Key, message: str) -> bool:
        resource, namespace, name = key
        held = _condition(self._api.find(resource, name, namespace) or {})
        return held is not None and message in held["message"].split("\n")

    def _write(self, key: Key, message: str) -> bool:
        resource, namespace, name = key
        obj = self._api.find(resource, name, namespace)
        if obj is None:
            return False
        if self._says(key, message):
            return True
        held = _condition(obj)
        generation = obj["metadata"].get("generation", 1)
        earlier = held["message"].split("\n") if held and held.get("observedGeneration") == generation else []
        condition = {
            "type": CONDITION,
            "status": "False",
            "reason": REASON,
            "message": "\n".join([*earlier, message]),
            "observedGeneration": generation,
            "lastTransitionTime": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        self._set(obj, key, condition)
        return True

    def clear_outdated(self, resources: Iterable[str] = _KINDS) -> None:
        """Take back what was said of an object's former generation."""
        for resource in resources:
            for obj in self._api.list(resource) if self._api.registry.get(resource) else []:
                held = _condition(obj)
                if held is not None and held.get("observedGeneration") != obj["metadata"].get("generation", 1):
                    self._set(obj, (resource, obj["metadata"]["namespace"], obj["metadata"]["name"]), None)

    def _set(self, obj: Mapping[str, Any], key: Key, condition: dict[str, Any] | None) -> None:
        status = dict(obj.get("status") or {})
        others = [item for item in status.get("conditions") or [] if item.get("type") != CONDITION]
        status["conditions"] = [*others, *([condition] if condition else [])]
        if not status["conditions"]:
            del status["conditions"]
        resource, namespace, name = key
        try:
            self._api.set_status(resource, name, namespace, status)
        except ApiError:  # deleted at this moment
            _log.info("%s %s in %s is gone", resource, name, namespace)


def _condition(obj: Mapping[str, Any]) -> dict[str, Any] | None:
    conditions = (obj.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c.get("type") == CONDITION and c.get("reason") == REASON), None)


def _shown(key: Key) -> tuple[str, str, str]:
    return key[0].partition(".")[0], key[2], key[1]
