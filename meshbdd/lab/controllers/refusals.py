"""What Envoy refuses: its sentence goes to the object that asked for it, as a condition in the object's status.

Envoy answers a configuration that it does not take with a sentence of its own (a NACK) and keeps the old one. Which
object is behind it, Envoy does not know; it is one of those that changed since this sidecar last took everything.
An object that the compiler fails at says so in the same place.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.lab.api.core import Api
from meshbdd.lab.api.errors import ApiError
from meshbdd.lab.xds.resources import CLUSTER, EXTENSION, LISTENER, ROUTES

_log = logging.getLogger(__name__)

CONDITION, REFUSED, NOT_COMPILED = "Programmed", "RefusedByEnvoy", "NotCompiled"
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

_DUMP = re.compile(r"goo\.gle/debug.*?^: ", re.DOTALL | re.MULTILINE)
"""The whole message that Envoy puts before the sentence about one field of it."""
_NAME = re.compile(r'^(?:cluster_)?name: "([^"]*)"', re.MULTILINE)


def sentence_of(answer: str) -> str:
    """Envoy's answer on one line, of each message that it quotes in full the name alone."""

    def name(dump: re.Match[str]) -> str:
        found = _NAME.search(dump.group())
        return f"{found.group(1)}: " if found else ""

    return " ".join(_DUMP.sub(name, answer).split())


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
        self._told: dict[Key, tuple[int, dict[str, list[str]]]] = {}
        """Object → its generation, and Envoy's sentence → the pods whose Envoys said it."""

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

    def refused(self, node: str, pod: str, namespace: str, type_url: str, answer: str) -> list[str]:
        """Write Envoy's sentence to the objects that may be behind it.

        Returns:
            Their names; empty where none is.
        """
        self._refused.add(node)
        sentence, told = sentence_of(answer), []
        suspects = self._suspects(node, namespace, type_url)
        # The same sentence again is the same object's, whatever else has changed since.
        for key in [key for key in suspects if sentence in self._sentences(key)] or suspects:
            if self._add(key, sentence, f"{pod}.{namespace}"):
                self._blamed.add((key, self._sent[node][key]))
                told.append("{} {} in {}".format(*_shown(key)))
        names = ", or ".join(told) or "no object that changed"
        _log.warning(
            "Envoy of %s.%s refused a %s (%s): %s", pod, namespace, type_url.rpartition(".")[2], names, sentence
        )
        return told

    def not_compiled(self, obj: Mapping[str, Any], why: str) -> None:
        """Write to an object that the lab's compiler fails at it."""
        _log.error("the lab cannot compile %s %s in %s, which stays as it last compiled: %s", *_named(obj), why)
        self._write(obj, _made(obj, NOT_COMPILED, why))

    def forgive(self, obj: Mapping[str, Any]) -> None:
        """Take back what was said of an object."""
        if _condition(obj):
            self._write(obj, None)

    def _write(self, obj: Mapping[str, Any], condition: dict[str, Any] | None) -> None:
        told, meta = self._api.registry.of_kind(obj["apiVersion"], obj["kind"]), obj["metadata"]
        live = self._api.find(told.key, meta["name"], meta.get("namespace")) if told else None
        if told and live:
            self._set(live, (told.key, meta.get("namespace") or "", meta["name"]), condition)

    def _suspects(self, node: str, namespace: str, type_url: str) -> list[Key]:
        before = self._taken.get(node, {})
        return [
            key
            for key, version in self._sent.get(node, {}).items()
            if before.get(key) != version
            and type_url in _KINDS[key[0]]
            and (key[0] not in _OF_ONE_NAMESPACE or key[1] in {namespace, ROOT_NAMESPACE})
        ]

    def _sentences(self, key: Key) -> dict[str, list[str]]:
        """What Envoys said of an object as it is now, as far as its status still says it."""
        resource, namespace, name = key
        obj = self._api.find(resource, name, namespace)
        if obj is None or not _condition(obj):
            return {}
        generation, told = self._told.get(key, (0, {}))
        return told if generation == _generation(obj) else {}

    def _add(self, key: Key, sentence: str, pod: str) -> bool:
        resource, namespace, name = key
        obj = self._api.find(resource, name, namespace)
        if obj is None:
            return False
        told = {said: list(pods) for said, pods in self._sentences(key).items()}
        pods = told.setdefault(sentence, [])
        if pod not in pods:
            pods.append(pod)
            self._told[key] = _generation(obj), told
            lines = (f"{said} (pods: {', '.join(sorted(pods))})" for said, pods in told.items())
            self._set(obj, key, _made(obj, REFUSED, "\n".join(lines)))
        return True

    def clear_outdated(self, resources: Iterable[str] = _KINDS) -> None:
        """Take back what was said of an object's former generation."""
        for resource in resources:
            for obj in self._api.list(resource) if self._api.registry.get(resource) else []:
                held = _condition(obj)
                if held is not None and held.get("observedGeneration") != _generation(obj):
                    self._set(obj, (resource, obj["metadata"]["namespace"], obj["metadata"]["name"]), None)

    def _set(self, obj: Mapping[str, Any], key: Key, condition: dict[str, Any] | None) -> None:
        status = dict(obj.get("status") or {})
        others = [item for item in status.get("conditions") or [] if item.get("type") != CONDITION]
        status["conditions"] = [*others, *([condition] if condition else [])]
        if not status["conditions"]:
            del status["conditions"]
        resource, namespace, name = key
        try:
            self._api.set_status(resource, name, namespace or None, status)
        except ApiError:  # deleted at this moment
            _log.info("%s %s in %s is gone", resource, name, namespace)


def _condition(obj: Mapping[str, Any]) -> dict[str, Any] | None:
    conditions = (obj.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if _is_own(c)), None)


def _is_own(condition: Mapping[str, Any]) -> bool:
    return condition.get("type") == CONDITION and condition.get("reason") in {REFUSED, NOT_COMPILED}


def own_conditions(before: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions of a status that a controller is about to write, and beside them the one that stands here."""
    own = [condition for condition in before.get("conditions") or [] if _is_own(condition)]
    return {"conditions": [*(status.get("conditions") or []), *own]} if own else {}


def _named(obj: Mapping[str, Any]) -> tuple[str, str, str]:
    return obj["kind"], obj["metadata"]["name"], obj["metadata"].get("namespace") or "the cluster"


def _generation(obj: Mapping[str, Any]) -> int:
    return int(obj["metadata"].get("generation", 1))


def _made(obj: Mapping[str, Any], reason: str, message: str) -> dict[str, Any]:
    return {
        "type": CONDITION,
        "status": "False",
        "reason": reason,
        "message": message,
        "observedGeneration": _generation(obj),
        "lastTransitionTime": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _shown(key: Key) -> tuple[str, str, str]:
    return key[0].partition(".")[0], key[2], key[1]
