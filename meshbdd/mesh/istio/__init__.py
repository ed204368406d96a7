"""Istio: intents → edits of its resources. Everything is read and understood before anything is written.

``injection`` chooses the side of a fault, by what is ``standing``; ``routes`` and ``virtual_services``,
``destination_rules``, ``security`` and ``arming`` know one kind of resource each; ``catalog`` looks services up, ``hosts`` says
which resource governs one.
"""

from meshbdd.mesh.istio.planner import Istio

__all__ = ["Istio"]
