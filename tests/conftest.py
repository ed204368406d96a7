"""Fixtures that several rooms of the tests share: labs of their own, away from the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools import LabUnderTest


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests' labs live in a folder of their own, and no lab or kubeconfig of the user has a part in them."""
    before = {name: os.environ.get(name) for name in ("XDG_STATE_HOME", "KUBECONFIG")}
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    os.environ.pop("KUBECONFIG", None)
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def shop_lab(_own_state: None) -> Iterator[LabUnderTest]:
    """A lab with the demo shop, shared by all tests that leave it as they found it."""
    lab = LabUnderTest.up("shared")
    yield lab
    lab.down()


@pytest.fixture
def lab(shop_lab: LabUnderTest) -> Iterator[LabUnderTest]:
    """The shared lab; what a test applied is deleted afterwards."""
    yield shop_lab
    shop_lab.clean()


@pytest.fixture(scope="session")
def project() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parents[1]
