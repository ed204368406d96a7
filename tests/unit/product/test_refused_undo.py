"""An undo is tried again while it may come true, and no longer than that."""

from __future__ import annotations

from typing import Any, cast

import pytest

from meshbdd.cluster import Cluster
from meshbdd.cluster.client import ApiFailure
from meshbdd.cluster.record import Layer, Owner, Record, digest, mark
from meshbdd.cluster.undo import undo_object
from meshbdd.errors import RestoreIncomplete
from meshbdd.units import Duration

TARGET = ("VirtualService", "pay", "shop")
INVALID = "The API refused PUT /pay with 422: spec.hosts: Required value."
DENIED = 'The API refused PUT /pay with 400: admission webhook "w" denied the request: not now.'
WEBHOOK = 'The API refused PUT /pay with 403: admission webhook "w" denied the request: not now.'
POLICY = (
    'The API refused PUT /pay with {}: virtualservices.networking.istio.io "pay" is forbidden: '
    "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: a freeze."
)
STARTING = 'The API refused PUT /pay with 403: virtualservices "pay" is forbidden: not yet ready to handle request.'
LACKING = 'The API refused PUT /pay with 403: virtualservices "pay" is forbidden: User "u" cannot update resource.'
EXPIRED = "The API refused PUT /pay with 401: Unauthorized."


class _Refusing:
    """A cluster with one changed object, whose API refuses writes in turn, and then takes them."""

    uid = "here"

    def __init__(self, *answers: tuple[int, str]) -> None:
        meta: dict[str, Any] = {"name": "pay", "namespace": "shop", "uid": "u"}
        self.live: dict[str, Any] = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": meta,
            "spec": {"hosts": ["a"]},
        }
        before = digest(self.live)
        self.live["spec"]["hosts"] = ["b"]
        layer = Layer("one", ("spec", "hosts"), ["a"], ["b"])
        mark(self.live, Record("r1", Owner.me(), self.uid, "u", False, (layer,), before))
        self.answers = list(answers)
        self.writes = 0

    def find(self, *_: str) -> dict[str, Any]:
        return self.live

    def replace(self, obj: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.writes += 1
        if self.answers:
            status, told = self.answers.pop(0)
            raise ApiFailure(status, "", told)
        self.live = obj
        return obj


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshbdd.cluster.undo._FIRST_PAUSE_SECONDS", 0.001)


def _undo(cluster: _Refusing, seconds: float = 60.0) -> None:
    undo_object(cast("Cluster", cluster), *TARGET, "r1", Duration(seconds))


@pytest.mark.parametrize("status", [400, 405, 413, 422])
def test_what_the_api_will_not_take_is_told_and_not_repeated(status: int) -> None:
    there = _Refusing(*[(status, INVALID)] * 100)
    with pytest.raises(
        RestoreIncomplete, match=r"pay\.shop still carries the change of run r1: .* Required value"
    ) as caught:
        _undo(there)
    assert there.writes == 2
    assert (
        caught.value.help
        == "mend what it refuses, then run the features again: the next run undoes it before anything else"
    )


@pytest.mark.parametrize(
    "answers",
    [
        [(422, INVALID)],
        [(422, INVALID), (409, "Written by somebody."), (422, INVALID)],
        [(422, INVALID), (422, "Something else.")],
        [(409, "Written by somebody.")] * 5,
        [(429, "Too many.")] * 5,
        [(500, "failed calling webhook: connection refused")] * 5,
        [(503, "Not yet.")] * 5,
        [(400, DENIED)] * 5,
        [(403, WEBHOOK)] * 5,
        [(422, POLICY.format(422))] * 5,
        [(403, POLICY.format(403))] * 5,
        [(403, STARTING)] * 5,
    ],
)
def test_what_may_pass_is_repeated(answers: list[tuple[int, str]]) -> None:
    there = _Refusing(*answers)
    _undo(there)
    assert there.live["spec"] == {"hosts": ["a"]}
    assert "annotations" not in there.live["metadata"]


@pytest.mark.parametrize(
    ("status", "told", "action"),
    [(403, LACKING, "mend what it refuses, then"), (401, EXPIRED, "give the kubeconfig a valid token, then")],
)
def test_what_an_account_may_not_do_is_told_at_once(status: int, told: str, action: str) -> None:
    there = _Refusing(*[(status, told)] * 100)
    with pytest.raises(RestoreIncomplete) as caught:
        _undo(there)
    assert there.writes == 1
    assert str(caught.value.help).startswith(action)


@pytest.mark.parametrize(
    ("told", "action"),
    [(POLICY.format(422), "mend what"), (WEBHOOK, "mend what"), (STARTING, "run the features again when")],
)
def test_what_was_denied_all_the_time_is_told_with_what_helps(told: str, action: str) -> None:
    with pytest.raises(RestoreIncomplete) as caught:
        _undo(_Refusing(*[(422 if "422" in told else 403, told)] * 100), 0.01)
    assert str(caught.value.help).startswith(action)


@pytest.mark.parametrize(
    ("status", "action"), [(409, "when the API answers"), (503, "when the API answers"), (403, "mend"), (400, "mend")]
)
def test_what_does_not_pass_in_time_is_told_with_what_helps(status: int, action: str) -> None:
    with pytest.raises(RestoreIncomplete) as caught:
        _undo(_Refusing(*[(status, DENIED)] * 100), 0.01)
    assert action in str(caught.value.help)
