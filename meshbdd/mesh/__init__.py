"""From what a tester wants to what a mesh is told, and the proof that its proxies have heard it.

``Istio.plan(intent)`` reads the cluster and gives a ``Plan``: the edits, and the routes by which proxies show that they
hold it. Nothing is written here; ``cluster.Change`` does that. ``Gate`` waits until every calling proxy holds a plan, or
holds nothing of it any more.
"""

from meshbdd.mesh.base import Marker, Plan
from meshbdd.mesh.gate import Gate
from meshbdd.mesh.istio import Istio

__all__ = ["Gate", "Istio", "Marker", "Plan"]
