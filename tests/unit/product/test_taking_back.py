"""In which order changes are taken back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.mesh import Marker, Stage
from meshbdd.mesh.markers import ConfigChanged, PolicyHeld, TransportTaken, Where
from meshbdd.scenario.in_force import InForce, Written
from meshbdd.scenario.taking_back import batches, rounds

STRICT = TransportTaken((8080,), frozenset({"tls"}), Where("shop"))
PERMISSIVE = TransportTaken((8080,), frozenset({"tls", "raw_buffer"}), Where("shop"))
ONLY = PolicyHeld("shop", "only", Where("shop"))


def _written(*markers: Marker) -> Written:
    return Written(Stage.of(markers=list(markers)), {})


def test_what_looks_like_the_state_before_is_taken_back_one_by_one() -> None:
    """Both at once, the permissive exception could never be seen to go: without "strict" the port is permissive as well."""
    exception, mode, policy = _written(PERMISSIVE), _written(STRICT), _written(ONLY)
    assert [list(batch) for batch in batches([exception, policy, mode])] == [[exception], [policy], [mode]]


def test_what_has_a_mark_of_its_own_is_taken_back_together() -> None:
    one, two, mode = _written(ONLY), _written(ONLY), _written(STRICT)
    assert [list(batch) for batch in batches([one, two, mode])] == [[one, two, mode]]
    assert [list(batch) for batch in batches([])] == [[]]


def _in_force(name: str, *stages: str) -> InForce:
    """A plan whose stages each change the objects that are named, a letter each; one in capitals leaves no name in a proxy."""
    written = [_written(*([ConfigChanged("x", ("/clusters",))] if objects.isupper() else [])) for objects in stages]
    for number, (stage, objects) in enumerate(zip(written, stages, strict=True)):
        for letter in objects:
            edit = SimpleNamespace(target=("Thing", letter, "shop"))
            stage.changes.append(cast("Any", SimpleNamespace(edit=edit, told=f"{name}{number + 1}")))
    return InForce(cast("Any", name), written=written)


@pytest.mark.parametrize(
    ("found", "order"),
    [
        ([], []),
        ([("a", "x", "y")], ["a2", "a1"]),
        ([("a", "x"), ("b", "y"), ("c", "z")], ["c1 b1 a1"]),
        # A manifest's last stage, and a fault on the same object: at one time, the later one first.
        ([("m", "d", "v"), ("f", "v")], ["f1 m2", "m1"]),
        # What stands on it goes only with the next round, so it waits.
        ([("m", "x", "y"), ("f", "y", "z")], ["f2", "f1 m2", "m1"]),
        ([("m", "x"), ("f", "y", "z"), ("g", "x", "y")], ["g2 f2", "g1 f1 m1"]),
        ([("m", "xy"), ("f", "y", "z"), ("g", "z", "x")], ["g2", "g1 f2", "f1 m1"]),
        # What is known by the pages of before goes when these are as they were: a split's subsets stand in them.
        ([("e", "E"), ("s", "d", "v")], ["s2", "s1", "e1"]),
        ([("s", "d", "v"), ("e", "E")], ["e1", "s2", "s1"]),
        ([("a", "x"), ("e", "E"), ("f", "F"), ("b", "y")], ["b1", "f1", "e1", "a1"]),
    ],
)
def test_what_a_later_change_stands_on_stays_as_long(found: list[tuple[str, ...]], order: list[str]) -> None:
    made = [_in_force(name, *stages) for name, *stages in found]
    told = [" ".join(cast("Any", stage.changes[0]).told for stage in ready) for ready in rounds(made)]
    assert told == order
