"""A manifest's VirtualService or DestinationRule is awaited by those alone to whom it is exported."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.mesh import Istio
from meshbdd.mesh.base import Where
from tests.unit.product.staged import Staged

Object = dict[str, Any]
SHOP = (
    {"kind": "Namespace", "metadata": {"name": "shop"}},
    {"kind": "Service", "metadata": {"name": "pay", "namespace": "shop"}, "spec": {"selector": {"app": "pay"}, "ports": [{"port": 80}]}},
)  # fmt: skip


def _wheres(kind: str, **spec: Any) -> list[Where]:
    meta = {"name": "own", "namespace": "shop"}
    document = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": meta, "spec": spec}
    return [marker.where for marker in Staged(Istio, SHOP)([document]).markers]


def _routed(*export_to: str, **match: Any) -> list[Where]:
    http = [{"match": [match] if match else [], "route": [{"destination": {"host": "pay"}}]}]
    return _wheres("VirtualService", hosts=["pay"], http=http, **({"exportTo": list(export_to)} if export_to else {}))


@pytest.mark.parametrize(
    ("export_to", "wheres"),
    [
        ((), [Where()]),
        (("*",), [Where()]),
        ((".", "*"), [Where()]),
        ((".",), [Where("shop")]),
        (("shop",), [Where("shop")]),
        ((".", "shop"), [Where("shop")]),
        ((".", "x"), [Where("shop"), Where("x")]),
        (("x",), [Where("x")]),
    ],
)
def test_it_is_awaited_where_it_is_exported_to(export_to: tuple[str, ...], wheres: list[Where]) -> None:
    assert _routed(*export_to) == wheres
    assert _wheres("DestinationRule", host="pay", exportTo=list(export_to)) == wheres


def test_its_routes_are_sent_to_those_of_them_alone_whose_calls_they_take() -> None:
    assert _routed(".", "x", sourceNamespace="x") == [Where("x")]
    assert _routed(".", "x", sourceLabels={"app": "a"}) == [Where("shop", {"app": "a"}), Where("x", {"app": "a"})]
    assert _routed(".", sourceNamespace="x") == []


def test_a_rule_for_some_pods_is_awaited_at_these() -> None:
    chosen = {"matchLabels": {"app": "a"}}
    for export_to in ([], ["*"], ["x"]):
        wheres = _wheres("DestinationRule", host="pay", exportTo=export_to, workloadSelector=chosen)
        assert wheres == [Where("shop", {"app": "a"})]
