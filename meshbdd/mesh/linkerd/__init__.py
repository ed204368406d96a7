"""Linkerd: routes with a fault backend beside the service, annotations of Services, and policies on Servers.

What it is told and what of that has no effect is linkerd2's own: https://linkerd.io/2/reference/
"""

from meshbdd.mesh.linkerd.planner import Linkerd

__all__ = ["Linkerd"]
