"""Whether running sidecars hold what the compiler prints, but for the named transforms."""

from __future__ import annotations

from meshbdd.lab.compile import Mesh, compile_pod
from tests.fidelity.inverse import delivered, inverted
from tests.fidelity.rows import documents
from tests.fidelity.world import Object, World
from tests.golden.meaning import DATA, PODS, differences


def resources(case: str) -> list[Object]:
    """The objects of a golden case."""
    return documents((DATA / "istio" / case / "in.yaml").read_text())


def pod_differences(world: World, pod: str) -> list[str]:
    """Where a running sidecar differs from what the compiler makes of the world as it stands."""
    name, _, namespace = pod.partition(".")
    return differences(inverted(world, pod), delivered(compile_pod(Mesh.read(world.objects()), name, namespace)))


def case_differences(world: World, case: str) -> dict[str, list[str]]:
    """The same for both sidecars of a golden case, which is applied for it: pod → differences."""
    try:
        world.apply(resources(case))
        return {pod: pod_differences(world, pod) for pod in PODS}
    finally:
        world.clean()
