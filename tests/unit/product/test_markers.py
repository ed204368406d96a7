"""How a change shows in a proxy's pages."""

from __future__ import annotations

import pytest

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
