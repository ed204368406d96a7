"""Telemetries: those that rival each other, and those whose provider the mesh does not have."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from meshbdd.sense import catalog
from meshbdd.sense.finding import Finding, name_of
from meshbdd.sense.inventory import ROOT_NAMESPACE, Inventory
from meshbdd.sense.reading import Object, labels_of, mapping, mappings, namespace_of, text, texts, told
from meshbdd.sense.selectors import selected_pods, selector_of

_BUILT_IN = ("prometheus", "stackdriver", "envoy")
"""Providers that every mesh has: istio/istio pkg/config/mesh/mesh.go, ``DefaultMeshConfig``."""
_LOST = {
    "metrics": "these metrics are not counted",
    "tracing": "no spans are sent",
    "accessLogging": "nothing is logged to it",
}
"""What comes of an unknown provider: istio/istio pilot/pkg/model/telemetry.go, ``fetchProvider`` and its callers."""


@dataclass(frozen=True, slots=True)
class _Mesh:
    """What Telemetries need to know of the mesh configuration.

    Attributes:
        providers: The names of its extension providers.
        logs: Whether it has a default provider for access logs.
    """

    providers: tuple[str, ...]
    logs: bool


def check(world: Inventory) -> Iterator[Finding]:
    """Telemetries that rival each other; where the mesh configuration is known, their providers too."""
    telemetries = [t for t in world.of("Telemetry") if _is_istios(t)]
    yield from _namespace_wide(telemetries)
    yield from _selecting(world, telemetries)
    mesh = _mesh_of(world) if telemetries else None
    if mesh is not None:
        yield from _unknown(telemetries, mesh)
        yield from _without(telemetries, mesh)


def _is_istios(telemetry: Object) -> bool:
    """Other projects have a kind of this name (operator.kyma-project.io); one that says no version is taken for Istio's."""
    version = text(telemetry, "apiVersion")
    return not version or "istio.io/" in version


def _is_wide(telemetry: Object) -> bool:
    targets = mapping(telemetry, "spec", "targetRef") or mappings(telemetry, "spec", "targetRefs")
    return not selector_of(telemetry) and not targets


def _revision(telemetry: Object) -> str:
    """The control plane that a Telemetry is for: those of two never meet."""
    return str(labels_of(telemetry).get("istio.io/rev") or "")


def _namespace_wide(telemetries: list[Object]) -> Iterator[Finding]:
    groups: dict[tuple[str, str], list[Object]] = defaultdict(list)
    for telemetry in filter(_is_wide, telemetries):
        groups[namespace_of(telemetry), _revision(telemetry)].append(telemetry)
    for (home, _), same in groups.items():
        whole = "the whole mesh" if home == ROOT_NAMESPACE else f"all of namespace {home}"
        for telemetry in same:
            others = [name_of(t) for t in same if t is not telemetry]
            if others:
                yield catalog.TWO_NAMESPACE_WIDE.on(
                    telemetry, f"{told(others)} is for {whole} too; Istio takes the oldest alone and ignores the rest."
                )


def _selecting(world: Inventory, telemetries: list[Object]) -> Iterator[Finding]:
    by_pod: dict[Any, list[Object]] = defaultdict(list)
    for telemetry in telemetries:
        home = namespace_of(telemetry)
        for pod in selected_pods(world, telemetry) if selector_of(telemetry) else ():
            if pod.namespace == home:  # the root namespace's selectors do not reach into the others
                by_pod[name_of(pod.obj), _revision(telemetry)].append(telemetry)
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for (pod_name, _), rivals in by_pod.items():
        for telemetry in rivals if len(rivals) > 1 else ():
            others, pods = found[name_of(telemetry)]
            others.update(name_of(t) for t in rivals if t is not telemetry)
            pods.add(pod_name)
    for name, (others, pods) in found.items():
        yield catalog.TWO_TELEMETRIES.on(
            name, f"{told(sorted(others))} is for {told(sorted(pods))} too; which one counts is undefined."
        )


def _mesh_of(world: Inventory) -> _Mesh | None:
    """The mesh configuration, as the ConfigMaps of the control planes hold it; ``None`` where it cannot be known.

    An IstioOperator does not tell it: its profile may add providers.
    """
    known = []
    for holder in world.of("ConfigMap"):
        name, said = text(holder, "metadata", "name"), text(holder, "data", "mesh")
        if namespace_of(holder) != ROOT_NAMESPACE or not said or not (name == "istio" or name.startswith("istio-")):
            continue
        try:
            known.append(yaml.safe_load(said))
        except (yaml.YAMLError, ValueError):  # a ValueError comes of a date that there is not
            return None
    if not known or not all(isinstance(config, dict) for config in known):
        return None
    own = [text(provider, "name") for config in known for provider in mappings(config, "extensionProviders")]
    logs = any(texts(config, "defaultProviders", "accessLogging") for config in known)
    return _Mesh((*_BUILT_IN, *filter(None, own)), logs)


def _providers(entry: Any) -> list[str]:
    return [name for provider in mappings(entry, "providers") if (name := text(provider, "name"))]


def _unknown(telemetries: list[Object], mesh: _Mesh) -> Iterator[Finding]:
    lower = {name.lower() for name in mesh.providers}  # Istio compares them without regard to case
    for telemetry in telemetries:
        for section, lost in _LOST.items():
            for name in (n for entry in mappings(telemetry, "spec", section) for n in _providers(entry)):
                if name.lower() not in lower:
                    near = difflib.get_close_matches(name, mesh.providers, 1)
                    yield catalog.UNKNOWN_PROVIDER.on(
                        telemetry,
                        f'{section} names the provider "{name}", which the mesh configuration does not have (it has '
                        f"{told(mesh.providers)}): {lost}.",
                        f'did you mean "{near[0]}"?' if near else None,
                    )


def _without(telemetries: list[Object], mesh: _Mesh) -> Iterator[Finding]:
    """Access logs for which no provider is named: not there, not above, and not by the mesh."""
    if mesh.logs:
        return
    named_for = {
        namespace_of(t)
        for t in filter(_is_wide, telemetries)
        if any(map(_providers, mappings(t, "spec", "accessLogging")))
    }
    for telemetry in telemetries:
        home = namespace_of(telemetry)
        above = (
            (set() if home == ROOT_NAMESPACE else {ROOT_NAMESPACE}) if _is_wide(telemetry) else {ROOT_NAMESPACE, home}
        )
        named = bool(above & named_for)
        for entry in mappings(telemetry, "spec", "accessLogging"):
            named = named or bool(_providers(entry))  # what comes after an entry inherits its provider
            if not named and mapping(entry).get("disabled") is not True:
                yield catalog.NO_PROVIDER.on(
                    telemetry,
                    "accessLogging names no provider, and neither does anything above it nor the mesh configuration: Istio "
                    "ignores it.",
                )
