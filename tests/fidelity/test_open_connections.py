"""Open connections behave in the lab as measured outside of it (mesh-semantics §4.1)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fidelity import open_connections
from tests.fidelity.open_connections import CONNECTIONS, FINDINGS, Finding
from tests.fidelity.world import World


@pytest.mark.parametrize("find", FINDINGS, ids=lambda find: find.__name__)
def test_stale_answers(world: World, find: Callable[[World], Finding]) -> None:
    finding = find(world)
    print(f"\n{finding}")
    assert finding.agrees, finding
    if find is open_connections.extension_switch:
        assert finding.renewed == 0, "a switch of settings drains nothing"
    if find is open_connections.listener_change_and_epoch:
        assert finding.renewed == CONNECTIONS, "an epoch renews every connection"


def test_epochs_fail_no_request(world: World) -> None:
    failed, total = open_connections.failed_during_epochs(world)
    print(f"\n{failed} of {total} requests failed during 10 epochs")
    assert total >= 50
    assert failed == 0


def test_an_epoch_closes_the_breaker(world: World) -> None:
    assert open_connections.epoch_closes_the_breaker(world) == ("UH", 200)
