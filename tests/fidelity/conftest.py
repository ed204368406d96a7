"""The world of the golden cases, shared by this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fidelity.world import World


@pytest.fixture(scope="package")
def world(_own_state: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World.up("fidelity", tmp_path_factory.mktemp("world"))
    yield made
    made.down()
