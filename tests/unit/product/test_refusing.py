"""Why a change does not arrive: statuses and counters that say that it is refused, and those that do not."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from meshbdd.cluster import Edit
from meshbdd.errors import Inconclusive
from meshbdd.mesh import refusing as refusing_room
from meshbdd.mesh.refusing import Refusing, listener_errors

EDIT = Edit("DestinationRule", "ring", "shop", ("spec",), lambda spec: spec)


def _object(**condition: Any) -> dict[str, Any]:
    said = {"type": "Programmed", "status": "False", "reason": "x", "message": "too large.\nmore", **condition}
    return {"metadata": {"generation": 2}, "status": {"conditions": [said]}}


def _tunnel(pages: Callable[[str], Any] = lambda _page: {}) -> Any:
    return SimpleNamespace(pod="client", get=pages)


class _Clock:
    """Time that passes by being looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.02
        return self.now


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusing_room, "time", _Clock())


def _looked(refusing: Refusing, tunnel: Any) -> str:
    """What is told at last of a change that does not arrive in two seconds."""
    return [refusing.look(tunnel) for _ in range(100)][-1]


def _refusing(obj: dict[str, Any] | None) -> Refusing:
    return Refusing(SimpleNamespace(find=lambda *_: obj), (EDIT,))  # type: ignore[arg-type]


@pytest.mark.parametrize("condition", [{}, {"observedGeneration": 2}])
def test_an_object_that_says_that_it_is_refused_ends_the_waiting(condition: dict[str, Any]) -> None:
    with pytest.raises(Inconclusive) as caught:
        _looked(_refusing(_object(**condition)), _tunnel())
    assert (caught.value.code, caught.value.sentence) == (
        "MB0463",
        "DestinationRule ring.shop is not in force: too large.",
    )


@pytest.mark.parametrize(
    "obj",
    [None, {}, _object(status="True"), _object(type="Accepted"), _object(observedGeneration=1), _object(message="")],
    ids=["gone", "no status", "in force", "of something else", "of an earlier generation", "without a word"],
)
def test_what_is_not_said_of_the_object_as_it_is_ends_nothing(obj: dict[str, Any] | None) -> None:
    assert _looked(_refusing(obj), _tunnel()) == ""


def test_a_refusal_that_goes_away_ends_nothing() -> None:
    said = iter([_object()])
    refusing = Refusing(SimpleNamespace(find=lambda *_: next(said, None)), (EDIT,))  # type: ignore[arg-type]
    assert _looked(refusing, _tunnel()) == ""


def test_what_a_proxy_refuses_meanwhile_is_told_and_what_it_refused_before_is_not() -> None:
    counts = {"cluster_manager.cds.update_rejected": 3, "listener_manager.lds.update_rejected": 0}

    def page(_page: str) -> Any:
        return {"stats": [{"name": name, "value": value} for name, value in counts.items()]}

    refusing = _refusing(None)
    assert _looked(refusing, _tunnel(page)) == ""
    assert refusing.action() is None
    counts["cluster_manager.cds.update_rejected"] = 4
    assert _looked(refusing, _tunnel(page)) == "the proxy has refused an update of its clusters meanwhile"
    assert "istiod" in str(refusing.action())


def test_what_a_proxy_refuses_at_several_listeners_is_told_once() -> None:
    """A name that it never held before stands in what it refuses alone."""
    error = {"details": "no such\n  filter", "failed_configuration": {"name": "virtualInbound:9090"}}
    named = {"name": "virtualInbound:8080", "error_state": {"details": "no such filter"}}
    fine = {"name": "outbound", "active_state": {}}
    assert listener_errors({"configs": [named, {"error_state": error}, fine]}) == [
        "it refuses the listeners virtualInbound:8080 and virtualInbound:9090: no such filter"
    ]
    assert listener_errors({"configs": [named]}) == ["it refuses the listener virtualInbound:8080: no such filter"]
