"""Who made a call is known by the caller's log where a header hides it, and a mirrored copy is no further try."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meshbdd.intents import ServiceRef
from meshbdd.scenario.call_log import tries_to
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.forwarded import with_callers

ADDRESSES = {"client-1": "10.0.0.1", "cart-1": "10.0.0.2", "order-1": "10.0.0.3", "canary-1": "10.0.0.4"}
OWNERS = {(pod, ""): address for pod, address in ADDRESSES.items()}
ORDER = ServiceRef("order", "shop")


def left(pod: str, to: str = "order-1", forwarded: str = "192.0.2.7", **more: Any) -> Entry:
    named = {"authority": "order", "upstream": f"{ADDRESSES[to]}:80", "forwarded": forwarded, "port": "80"} | more
    return Entry(pod, True, ORDER.host, "", 200, frozenset(), "r1", started=1.0, **named)


def came(pod: str, forwarded: str = "192.0.2.7", **more: Any) -> Entry:
    address = f"{forwarded.rsplit(',', maxsplit=1)[-1]}:0"
    named = {"authority": "order", "downstream": address, "forwarded": forwarded, "port": "80"} | more
    return Entry(pod, False, "", "", 200, frozenset(), "r1", started=1.0, **named)


@pytest.mark.parametrize(
    ("entry", "made", "source", "copied"),
    [
        (came("order-1"), [left("client-1")], "10.0.0.1", False),
        (came("order-1"), [left("client-1"), left("order-1", "canary-1", authority="stock")], "10.0.0.1", False),
        (came("order-1"), [left("client-1"), left("cart-1", "canary-1")], "10.0.0.1", False),
        (came("order-1"), [left("client-1"), left("cart-1")], "192.0.2.7", False),  # of two nobody knows which
        (came("order-1"), [], "192.0.2.7", False),
        (came("order-1"), [left("gone-1")], "192.0.2.7", False),
        (came("order-1", downstream="10.0.0.2:4711"), [left("client-1")], "10.0.0.2", False),  # no header's address
        (came("canary-1", "192.0.2.7,10.0.0.1"), [left("client-1")], "10.0.0.1", True),
        (came("canary-1", "192.0.2.9"), [left("client-1", forwarded="")], "10.0.0.1", True),
        (came("canary-1", "192.0.2.9"), [left("client-1"), left("cart-1")], "192.0.2.9", True),  # a copy, whosever
        (
            came("order-1", "192.0.2.9"),
            [left("client-1", forwarded="")],
            "10.0.0.1",
            True,
        ),  # to the pod of the first one
    ],
)
def test_a_call_whose_address_a_header_hides_is_known_by_its_id(
    entry: Entry, made: list[Entry], source: str, copied: bool
) -> None:
    *others, found = with_callers([*made, entry], OWNERS)
    assert others == made
    assert (found.came_from, found.copied) == (source, copied)


@pytest.mark.parametrize(("namespace", "source"), [("shop", "10.0.0.1"), ("other", "10.0.0.9")])
def test_a_pod_of_the_same_name_in_another_namespace_has_an_address_of_its_own(namespace: str, source: str) -> None:
    owners = {
        ("order-1", "shop"): ADDRESSES["order-1"],
        ("client-1", "shop"): "10.0.0.1",
        ("client-1", "other"): "10.0.0.9",
    }
    entries = [left("client-1", namespace=namespace), came("order-1", namespace="shop")]
    assert with_callers(entries, owners)[-1].came_from == source


def test_a_mirrored_copy_is_no_second_try() -> None:
    copy = came("order-1", "192.0.2.7,10.0.0.1")
    entries = with_callers([left("client-1"), came("order-1"), copy], OWNERS)
    assert len(tries_to(ORDER, entries, ADDRESSES)) == 1
    again = replace(came("order-1"), started=2.0)
    assert len(tries_to(ORDER, with_callers([left("client-1"), came("order-1"), again], OWNERS), ADDRESSES)) == 2
