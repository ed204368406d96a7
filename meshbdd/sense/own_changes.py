"""What a scenario itself put into objects of the testers': it is no part of what these mean."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from meshbdd.sense.reading import Object, mapping, mappings, text
from meshbdd.sidecars import CHANGE_HEADER

OURS = "meshbdd-"
"""How the names of objects and routes begin that a scenario made."""
_ROUTES = {"VirtualService": "http", "HTTPRoute": "rules", "GRPCRoute": "rules"}
"""Where objects have the routes that a scenario's own are put before."""
_UNDO = "meshbdd.dev/undo"
"""The annotation that tells what a scenario changed in an object, and how it was before (``meshbdd.cluster.record``)."""
_REPLICAS = ("spec", "replicas")


def without_ours(obj: Object) -> Object:
    """An object as its author means it: without a scenario's own routes, and with the pods that a step took down."""
    return _scaled_back(obj) if text(obj, "kind") == "Deployment" else _without_our_routes(obj)


def _scaled_back(deployment: Object) -> Object:
    """A Deployment with as many pods as it has once the services that a step took down recover.

    What a manifest says of it after such a step is the tester's own word.
    """
    lowered = list(itertools.takewhile(_is_down, reversed(_changes(deployment))))
    if not lowered:
        return deployment
    spec = {key: value for key, value in mapping(deployment, "spec").items() if key != "replicas"}
    before = lowered[-1].get("original")
    return {**deployment, "spec": spec if before is None else {**spec, "replicas": before}}


def _changes(obj: Object) -> list[Mapping[str, Any]]:
    """The changes of an object on which the number of its pods may depend, oldest first."""
    try:
        record = json.loads(text(obj, "metadata", "annotations", _UNDO) or "{}")
    except ValueError:
        return []
    layers = ((layer, layer.get("path")) for layer in mappings(record, "layers"))
    return [layer for layer, path in layers if isinstance(path, list) and _REPLICAS[: len(path)] == tuple(path[:2])]


def _is_down(layer: Mapping[str, Any]) -> bool:
    return layer.get("path") == list(_REPLICAS) and layer.get("wrote") == 0


def _without_our_routes(obj: Object) -> Object:
    """An object without the copies of its routes that a scenario put in front of them for a fault or a split.

    The last route is the tester's own. It has a tag too where a scenario applied the manifest that it comes from.
    """
    field = _ROUTES.get(text(obj, "kind"), "")
    routes = mappings(obj, "spec", field)
    if not routes:
        return obj
    own = _tag(routes[-1])
    kept = [route for route in routes if _tag(route) in {"", own}]
    return obj if len(kept) == len(routes) else {**obj, "spec": {**mapping(obj, "spec"), field: kept}}


def _tag(route: Mapping[str, Any]) -> str:
    """By which a route is known as a scenario's; empty for one that no scenario made.

    A VirtualService's has a name, ``meshbdd-RUN-NUMBER-INDEX``. The Gateway API's set a request header.
    """
    name = text(route, "name")
    if name.startswith(OURS):
        return name.rpartition("-")[0]
    headers = (h for f in mappings(route, "filters") for h in mappings(f, "requestHeaderModifier", "set"))
    return next((text(h, "value") for h in headers if text(h, "name").lower() == CHANGE_HEADER), "")
