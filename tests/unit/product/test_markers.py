"""How a change shows in a proxy's pages."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.mesh.markers import TransportTaken, Where
from meshbdd.mesh.pages import fingerprint


def test_the_order_in_which_envoy_lists_things_is_no_change() -> None:
    """A listener that is replaced may come back at another place of the list; what was taken back seemed to be there still."""
    one = {"name": "virtualInbound", "active_state": {"version_info": "1", "listener": {"name": "virtualInbound"}}}
    two = {"name": "outbound", "active_state": {"version_info": "9", "listener": {"name": "outbound", "ports": [2, 1]}}}
    before = fingerprint([{"configs": [one, two]}])
    assert fingerprint([{"configs": [two, one]}]) == before
    newer = {**two, "active_state": {**two["active_state"], "version_info": "10"}}  # type: ignore[dict-item]
    assert fingerprint([{"configs": [newer, one]}]) == before
    other = {**two, "active_state": {"listener": {"name": "outbound", "ports": [1, 2]}}}
    assert fingerprint([{"configs": [one, other]}]) != before, "inside of a configuration order counts"


@pytest.mark.parametrize("state", ["warming_state", "draining_state"])
def test_a_listener_that_only_warms_or_drains_is_no_change(state: str) -> None:
    """One for a port alone that came, or went: something else would have seemed to be there when it was gone."""
    one = {"name": "virtualInbound", "active_state": {"version_info": "1", "listener": {"name": "virtualInbound"}}}
    other = {"name": "0.0.0.0_9080", "client_status": "ACKED", state: {"listener": {"name": "0.0.0.0_9080"}}}
    assert fingerprint([{"configs": [one, other]}]) == fingerprint([{"configs": [one]}])
    assert fingerprint([{"configs": [one]}]) != fingerprint([{"configs": []}])


def _listener(name: str, direction: str, transports: dict[int, tuple[str, ...]], **kind: Any) -> dict[str, Any]:
    chains = [
        {"filter_chain_match": {"destination_port": port, **({"transport_protocol": name} if name else {})}}
        for port, names in transports.items()
        for name in names
    ]
    listener = {"name": name, "traffic_direction": direction, "filter_chains": chains, **kind}
    return {"name": name, "active_state": {"listener": listener}}


@pytest.mark.parametrize("apart", [False, True])
def test_what_a_port_takes_is_told_by_the_listeners_that_clients_connect_to(apart: bool) -> None:
    """One for all ports or one for each; what comes out of ambient mode's tunnel has no transport at any port."""
    ports: dict[int, tuple[str, ...]] = {8080: ("tls",), 9090: ("tls", "raw_buffer")}
    by_port = [_listener(f"virtualInbound:{port}", "INBOUND", {port: names}) for port, names in ports.items()]
    held = by_port if apart else [_listener("virtualInbound", "INBOUND", ports)]
    tunnel = _listener("main_internal", "INBOUND", {8080: ("",), 9090: ("",)}, internal_listener={})
    out = _listener("0.0.0.0_8080", "OUTBOUND", {8080: ("raw_buffer",)})
    page = {"configs": [*held, tunnel, out]}
    assert TransportTaken((8080,), frozenset({"tls"}), Where()).held([page])
    assert not TransportTaken((8080, 9090), frozenset({"tls"}), Where()).held([page])
    assert TransportTaken((9090,), frozenset({"tls", "raw_buffer"}), Where()).held([page])
