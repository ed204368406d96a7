"""For which Services a route is: what is written into one reaches the calls to each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.mesh.linkerd.objects import GATEWAY, parents

Route = Mapping[str, Any]


def refuse_shared(route: Route, service: ServiceRef, what: str) -> None:
    """See that what is written into a route reaches no calls but those to a service: its rules cannot tell its parents apart.

    Args:
        route: The route; parents that are other ports of the service may be there.
        service: The service.
        what: What would be written.

    Raises:
        BadInput: it has another parent.
    """
    own = {("Service", service.namespace, service.name)}
    services = {("Service", str(ref["namespace"]), str(ref["name"])) for ref in parents(route)}
    others = sorted((services | set(_elsewhere(route))) - own)
    if others:
        meta = route["metadata"]
        told = ", ".join(f"{kind} {name}.{home}" for kind, home, name in others)
        raise BadInput(
            "MB0485",
            f"«{what}» would have to go into {route['kind']} {meta['name']} in namespace {meta['namespace']}, which is for "
            f"{told} as well: calls there would meet it, too.",
            help=f"give each of its parents a route of its own, so that {service} has one for itself",
        )


def _elsewhere(route: Route) -> Iterable[tuple[str, str, str]]:
    """The parents of a route that are no Services."""
    home = route["metadata"]["namespace"]
    for ref in (route.get("spec") or {}).get("parentRefs") or []:
        if ref.get("kind") != "Service" or ref.get("group", GATEWAY) not in {"", "core"}:
            yield str(ref.get("kind") or "Gateway"), str(ref.get("namespace") or home), str(ref.get("name"))
