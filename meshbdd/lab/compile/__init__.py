"""The mesh compiler: Kubernetes and Istio objects → intermediate representation → Envoy's configuration.

Pure functions. What comes out is what Istio would deliver; the lab's own needs are the transforms of
``meshbdd.lab.sidecar.transforms``.
"""

from meshbdd.lab.compile.mesh import Mesh
from meshbdd.lab.compile.pod import Compiled, compile_pod

__all__ = ["Compiled", "Mesh", "compile_pod"]
