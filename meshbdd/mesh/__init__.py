"""From what a tester wants to what a mesh is told, and the proof that its proxies have heard it.

A ``Mesh`` reads the cluster and gives a ``Plan``: the edits in stages, and the markers by which proxies show that they
hold them. Nothing is written here; ``cluster.Change`` does that. ``Gate`` waits until every calling proxy holds a stage,
or holds nothing of it any more.
"""

from meshbdd.mesh.base import Context, Marker, Mesh, Plan, Stage, Where
from meshbdd.mesh.gate import Gate
from meshbdd.mesh.istio import Istio

__all__ = ["Context", "Gate", "Istio", "Marker", "Mesh", "Plan", "Stage", "Where"]
