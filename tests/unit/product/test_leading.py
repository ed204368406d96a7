"""A fault at a server to which no rule leads a call is refused before anything is written."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.errors import BadInput
from meshbdd.intents import Fault, Scope, ServiceRef
from meshbdd.mesh.istio.leading import refuse_led_away
from meshbdd.mesh.istio.standing import Objects
from meshbdd.units import Duration

PAYMENT, ORDER = ServiceRef("payment-service", "shop"), ServiceRef("order-service", "shop")
FAULT, WHY = Fault(PAYMENT, status=503), "at the server's sidecars: «a timeout» is in force"


def _vs(host: str, *led: Any, **spec: Any) -> dict[str, Any]:
    routes = [{"route": [{"destination": {"host": to}}]} if isinstance(to, str) else to for to in led]
    return {"metadata": {"name": host, "namespace": "shop"}, "spec": {"hosts": [host], "http": routes, **spec}}


def _route(*backends: dict[str, Any], port: int | None = None, parent: str = "payment-service", **rule: Any) -> Any:
    parents = [{"group": "", "kind": "Service", "name": parent, **({"port": port} if port else {})}]
    spec = {"parentRefs": parents, "rules": [{"backendRefs": list(backends), **rule}]}
    return {"metadata": {"name": "theirs", "namespace": "shop"}, "spec": spec}


def _shares(**weights: int) -> dict[str, Any]:
    return {"route": [{"destination": {"host": f"{n}-service"}, "weight": w} for n, w in weights.items()]}


ALT, TO_ORDER = ServiceRef("payment-alt", "shop"), _vs("payment-service", "order-service")


@pytest.mark.parametrize(
    ("objects", "callers", "ports", "words"),
    [
        (Objects([TO_ORDER]), ["shop"], 1, "VirtualService payment-service leads those to payment-service.shop elsewhere, to order"),
        (Objects([TO_ORDER]), [], 1, "elsewhere, to order-service.shop"),
        (Objects([_vs("payment-service", _shares(order=100, payment=0))]), ["shop"], 1, "elsewhere, to order-service.shop"),
        (Objects([_vs("payment-service", {"directResponse": {"status": 503}})]), ["shop"], 1, ""),
        (Objects(http_routes=[_route({"name": "order-service"})]), ["shop"], 1, "HTTPRoute theirs leads those"),
        (Objects(http_routes=[_route({"name": "order-service"}, port=80)]), ["shop"], 1, "HTTPRoute theirs leads those"),
        # some may come there
        (Objects(), ["shop"], 1, ""),
        (Objects([_vs("payment-service", "order-service", "payment-service")]), ["shop"], 1, ""),
        (Objects([_vs("payment-service", _shares(order=50, payment=50))]), ["shop"], 1, ""),
        (Objects([_vs("payment-service", "payment-alt")]), ["shop"], 1, ""),  # a Service of the same pods
        (Objects([TO_ORDER, _vs("order-service", "payment-service")]), ["shop"], 1, ""),
        (Objects([_vs("payment-service", {**_shares(order=1), "mirror": {"host": "payment-service"}})]), ["shop"], 1, ""),
        (Objects([_vs("payment-service", "order-service", exportTo=["."])]), ["money", "shop"], 1, ""),
        (Objects([TO_ORDER], http_routes=[_route({"name": "payment-service"}, parent="order-service")]), ["shop"], 1, ""),
        (Objects(http_routes=[_route({"name": "order-service"}, port=80)]), ["shop"], 2, ""),
        (Objects([_vs("payment-service", tcp=[], http=[])]), ["shop"], 1, ""),
        (
            Objects([_vs("payment-service", {"delegate": {"name": "leaf"}}), _vs("leaf", "payment-service", hosts=[])]),
            ["shop"], 1, "",
        ),
    ],
)  # fmt: skip
def test_a_fault_at_a_server_to_which_no_rule_leads_is_refused(
    objects: Objects, callers: list[str], ports: int, words: str
) -> None:
    if not words:
        refuse_led_away(FAULT, WHY, (ALT,), objects, callers, ports=ports)
        return
    with pytest.raises(BadInput) as caught:
        refuse_led_away(FAULT, WHY, (ALT,), objects, callers, ports=ports)
    assert caught.value.code == "MB0496"
    assert words in caught.value.sentence
    assert caught.value.sentence.endswith("the fault's place is at the server's sidecars: «a timeout» is in force.")
    assert caught.value.help


def test_only_the_rules_of_its_callers_bear_on_a_fault_for_one() -> None:
    private, elsewhere = _vs("payment-service", "order-service", exportTo=["."]), ServiceRef("till", "money")
    for_one = Fault(PAYMENT, status=503, scope=Scope(ORDER))
    with pytest.raises(BadInput):
        refuse_led_away(for_one, WHY, (), Objects([private]), ["money", "shop"], ports=1)
    refuse_led_away(Fault(PAYMENT, status=503, scope=Scope(elsewhere)), WHY, (), Objects([private]), ["shop"], ports=1)


HELP = "with | inject at | server |"


@pytest.mark.parametrize(
    ("led", "told"),
    [
        (_shares(order=100), f"let order-service.shop be slowed instead, {HELP}"),
        (_shares(order=50, till=50), f"let order-service.shop and till-service.shop be slowed instead, each {HELP}"),
        ({**_shares(order=1), "mirror": {"host": "till-service"}}, f"let order-service.shop be slowed instead, {HELP}"),
        ({"route": [{"destination": {"host": "api.example.com"}}]}, "let VirtualService payment-service lead the calls to payment-service.shop"),
    ],
)  # fmt: skip
def test_the_services_to_which_calls_are_led_are_named_as_places_of_the_fault(led: dict[str, Any], told: str) -> None:
    slow = Fault(PAYMENT, delay=Duration(1))
    with pytest.raises(BadInput) as caught:
        refuse_led_away(slow, WHY, (), Objects([_vs("payment-service", led)]), ["shop"], ports=1)
    assert caught.value.help == told
    assert ("till-service" in caught.value.sentence) == ("till-service" in told), (
        "a mirror is no place that calls are led to"
    )
