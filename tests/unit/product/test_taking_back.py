"""In which order changes are taken back."""

from __future__ import annotations

from meshbdd.mesh import Marker, Stage
from meshbdd.mesh.markers import PolicyHeld, TransportTaken, Where
from meshbdd.scenario.changes import Written, _batches

STRICT = TransportTaken((8080,), frozenset({"tls"}), Where("shop"))
PERMISSIVE = TransportTaken((8080,), frozenset({"tls", "raw_buffer"}), Where("shop"))
ONLY = PolicyHeld("shop", "only", Where("shop"))


def _written(*markers: Marker) -> Written:
    return Written(Stage.of(markers=list(markers)), {})


def test_what_looks_like_the_state_before_is_taken_back_one_by_one() -> None:
    """Both at once, the permissive exception could never be seen to go: without "strict" the port is permissive as well."""
    exception, mode, policy = _written(PERMISSIVE), _written(STRICT), _written(ONLY)
    assert [list(batch) for batch in _batches([exception, policy, mode])] == [[exception], [policy], [mode]]


def test_what_has_a_mark_of_its_own_is_taken_back_together() -> None:
    one, two, mode = _written(ONLY), _written(ONLY), _written(STRICT)
    assert [list(batch) for batch in _batches([one, two, mode])] == [[one, two, mode]]
    assert [list(batch) for batch in _batches([])] == [[]]
