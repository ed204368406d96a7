"""Sense checks: what is doubtful about objects of Kubernetes and of the meshes, said before anything is written.

Pure functions from objects to findings: nothing is asked of a cluster, nothing of a proxy. ``check`` judges a world,
``check_changes`` what a change would make of it. Objects are plain dicts, as the API gives them or YAML holds them.
"""

from meshbdd.sense.checking import check, check_changes
from meshbdd.sense.finding import Check, Finding, Severity, name_of
from meshbdd.sense.kinds import unknown_kinds
from meshbdd.sense.routes import Patience, injects_fault, patience
from meshbdd.sense.whose import linkerds_alone

__all__ = [
    "Check",
    "Finding",
    "Patience",
    "Severity",
    "check",
    "check_changes",
    "injects_fault",
    "linkerds_alone",
    "name_of",
    "patience",
    "unknown_kinds",
]
