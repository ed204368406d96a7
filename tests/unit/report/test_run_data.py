"""What run.json holds of a scenario's evidence."""

from __future__ import annotations

import json
from collections import Counter

from meshbdd.evidence import FaultAccounted, VerdictReached
from meshbdd.report.scene import _data


def test_a_count_by_name_stays_one() -> None:
    """``dataclasses.asdict`` made keys of a Counter's items, which no JSON can hold: the run ended there."""
    fault = FaultAccounted("x fails", "x.shop", 3, 3, ("FI",), {"client-1": (3, 3)}, 3, 3, Counter({"10.0.0.9": 2}))
    told = json.loads(json.dumps(_data([fault, VerdictReached("passed", "so it is", {"by": Counter({"200": 3})})])))
    assert told["faults"][0]["bypassed"] == {"10.0.0.9": 2}
    assert told["faults"][0]["callers"] == {"client-1": [3, 3]}
    assert told["claims"][0]["numbers"] == {"by": {"200": 3}}
