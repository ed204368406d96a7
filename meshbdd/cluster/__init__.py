"""The only code that speaks Kubernetes: a small client, and changes that carry their own undo.

``Cluster`` reads and writes plain dicts. ``Change`` is the one way in which anything is written: what it did can be
told and undone from the object alone, by anyone, at any time. ``UndoStack`` undoes a scenario's changes, last first.
``Tunnel`` reaches a port inside a pod through the API server.
"""

from meshbdd.cluster.change import Change, Edit
from meshbdd.cluster.client import Cluster
from meshbdd.cluster.record import RUN, Record
from meshbdd.cluster.stack import UndoStack
from meshbdd.cluster.sweep import changed_by_others, sweep, sweep_own

__all__ = ["RUN", "Change", "Cluster", "Edit", "Record", "UndoStack", "changed_by_others", "sweep", "sweep_own"]
