"""Whom the Server at a port of a pod lets pass: what tells a denial for the want of an identity from others."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.letting_in import LettingIn, letting_in
from meshbdd.sidecars import LINKERD
from tests.unit.product.test_linkerd import _pod, _server
from tests.unit.product.test_linkerd_adding_up import (
    ANYWHERE,
    ASKING,
    CALLERS,
    CONFINED,
    FROM_ANYWHERE,
    NAMESPACE,
    OPENING,
    ROUTE,
    THE_ORDERS,
    THEIRS,
    _callers,
    _older,
    _policy,
    world,
)

Object = dict[str, Any]
NOBODY = "no policy is known to let any pod of the mesh pass at Server theirs"


def _at(*objects: Object) -> LettingIn:
    return letting_in(Catalog(world(*objects).cluster, LINKERD), _pod("payment-service"), 8080)  # type: ignore[arg-type]


@pytest.mark.parametrize("policies", OPENING)
@pytest.mark.parametrize("access", ["deny", "all-authenticated"])
def test_a_policy_for_callers_without_an_identity_leaves_a_doubt(policies: list[Object], access: str) -> None:
    [confined] = CONFINED[3]
    named_anew = {**confined, "metadata": {**confined["metadata"], "name": "beside"}}
    for more in ([], [named_anew]):
        found = _at(_server(access), *policies, *more)
        assert not found.by
        assert f"{policies[0]['kind']} mine lets callers without an identity pass at Server theirs" in found.doubt


@pytest.mark.parametrize("policies", [*ASKING[:2], ASKING[3], *CONFINED[:4]])
def test_a_policy_that_a_pod_of_the_mesh_passes_by_is_named(policies: list[Object]) -> None:
    found = _at(_server("deny"), *policies)
    assert not found.doubt
    assert f"{policies[0]['kind']} mine lets service account " in found.by


def test_so_is_one_of_the_namespace() -> None:
    assert _at(_server("deny"), _policy(NAMESPACE, THE_ORDERS)).by


@pytest.mark.parametrize(
    "policies",
    [
        [],
        [CONFINED[-1][0]],  # Linkerd leaves it out
        [_policy(THEIRS, {"kind": "ServiceAccount", "name": "nobody"})],
        [_policy(THEIRS, CALLERS, THE_ORDERS), _callers(identities=["*"])],  # two identities: Linkerd leaves it out
        [_policy(THEIRS, CALLERS), _callers(identities=["order-service.shop.serviceaccount.identity.elsewhere.org"])],
        [_policy(THEIRS, CALLERS), _callers(identities=["*.east.serviceaccount.identity.linkerd.cluster.local"])],
        [_policy(THEIRS, CALLERS)],
        [_older("another", meshTLS={"identities": ["*"]})],
        [_policy(ROUTE, THE_ORDERS)],
        [_older(networks=[{"cidr": "203.0.113.0/24"}], meshTLS={"identities": ["*"]})],
    ],
)
def test_where_no_pod_is_known_to_pass_nothing_is_told(policies: list[Object]) -> None:
    assert _at(_server("deny"), *policies) == LettingIn(doubt=NOBODY)


def test_the_access_policy_of_the_server_counts_as_well() -> None:
    assert _at(_server("all-authenticated")).by == (
        "Server theirs lets callers with an identity pass (accessPolicy all-authenticated)"
    )
    for access in ("all-unauthenticated", "audit"):
        assert f"(accessPolicy {access})" in _at(_server(access)).doubt
    assert "no Server decides at port 8080" in _at().doubt
    assert "no Server decides at port 8080" in _at(_server("deny", "grpc"), *CONFINED[0]).doubt


def test_a_network_beside_an_identity_has_to_hold_the_mesh() -> None:
    assert _at(_server("deny"), _policy(THEIRS, FROM_ANYWHERE, THE_ORDERS), ANYWHERE).by
    narrow = {**ANYWHERE, "spec": {"networks": [{"cidr": "203.0.113.0/24"}]}}
    assert _at(_server("deny"), _policy(THEIRS, FROM_ANYWHERE, THE_ORDERS), narrow) == LettingIn(doubt=NOBODY)
