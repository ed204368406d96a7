"""The seeded defects of the mesh that is tested."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tests.defects.of_istio import OF_ISTIO
from tests.defects.of_linkerd import NEVER_RED, NOT_ON_LINKERD, OF_LINKERD, UNANSWERED
from tests.defects.of_the_policies import OF_THE_POLICIES
from tests.defects.of_the_shop import OF_THE_SHOP
from tests.defects.project import Place

MESH = os.environ.get("MESH", "istio")
"""The mesh on which the defects are seeded."""
DEFECTS = (*OF_THE_SHOP, *(OF_LINKERD if MESH == "linkerd" else OF_ISTIO), *OF_THE_POLICIES)
MAY_BE_UNANSWERED = frozenset({"zero traffic", "missing sidecar", "stale route"}) | (
    UNANSWERED if MESH == "linkerd" else frozenset()
)
"""Of what a defect may be a case that leaves scenarios without an answer."""
PROVED_BY_NOBODY = NEVER_RED if MESH == "linkerd" else frozenset()
"""Scenarios that no defect turns red; some leave them without an answer."""
NAMED = (
    "no timeout",
    "timeout too long",
    "no retry",
    "retry storm",
    "500 instead of 503",
    "order created despite failure",
    "breaker never opens",
    "breaker never closes",
    "wrong canary weight",
    "canary ignored",
    "permissive mTLS",
    "missing sidecar",
    "wrong principal allowed",
    "header dropped",
    "telemetry missing",
    "fault on wrong host",
    *(["stale route"] if MESH == "istio" else []),
    "zero traffic",
)
"""What teams get wrong most: what each defect is a case of stands before the colon of its name.

A route of Linkerd's that no longer arrives is not seeded: its control plane tells every proxy all there is on one stream, and
a proxy refuses nothing of that.
"""


def skipped(places: Iterable[Place], mesh: str = MESH) -> frozenset[str]:
    """The scenarios that are none for a mesh: they say so by a tag, or it cannot do what they ask."""
    impossible = NOT_ON_LINKERD if mesh == "linkerd" else frozenset()
    return frozenset(
        place.name
        for place in places
        if place.name in impossible or (place.tags & {"istio", "linkerd"} and mesh not in place.tags)
    )
