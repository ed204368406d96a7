"""From what a tester wants to what a mesh is told, and the proof that its proxies have heard it.

A ``Mesh`` reads the cluster and gives a ``Plan``: the edits in stages, and the markers by which proxies show that they
hold them. Nothing is written here; ``cluster.Change`` does that. ``Gate`` waits until every calling proxy holds a stage,
or holds nothing of it any more.
"""

from collections.abc import Callable, Mapping

from meshbdd.cluster import Cluster
from meshbdd.mesh.abilities import Answering
from meshbdd.mesh.base import Context, Marker, Mesh, Plan, Stage, Where
from meshbdd.mesh.gate import Gate
from meshbdd.mesh.istio import Istio
from meshbdd.mesh.istio import abilities as istio_abilities
from meshbdd.mesh.linkerd import Linkerd
from meshbdd.mesh.linkerd import abilities as linkerd_abilities

STATEMENTS: Mapping[str, Answering] = {"istio": istio_abilities.answer, "linkerd": linkerd_abilities.answer}
"""A mesh → its statement of what it can do."""

MESHES: Mapping[str, Callable[[Cluster, str], Mesh]] = {"istio": Istio, "linkerd": Linkerd}
"""A mesh → how to make it of a cluster and the run's id."""

__all__ = ["MESHES", "STATEMENTS", "Context", "Gate", "Istio", "Linkerd", "Marker", "Mesh", "Plan", "Stage", "Where"]
