"""Where a scenario's requests come from: the meshed client pod, or its twin outside the mesh."""

from __future__ import annotations

from meshbdd.errors import EnvironmentBroken
from meshbdd.load import Entry, Result, Vantage
from meshbdd.load.hopeless import without_ports
from meshbdd.mesh.base import Object
from meshbdd.scenario.environment import Environment

OUTBOUND_ANNOTATION = "lab.meshbdd.dev/outbound"
CLIENT, PLAIN_CLIENT = "client", "client-plain"
_NOT_EVEN_IN = {"refused", "unreachable", "unresolved"}
"""Errors of a connection that was never made. Into the mesh they are the way in that is broken: whatever a service does
is answered by the client's own sidecar, which takes the connection first."""
MAYBE_UNSEEN = _NOT_EVEN_IN | {"reset"}
"""Errors of a request from outside the mesh of which perhaps no proxy logs anything: nobody took the connection, or it was
closed before a request came over it."""


class Vantages:
    """The client pods of the default namespace, looked up whenever something is sent: they may be replaced meanwhile.

    Args:
        environment: What the run shares.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def of(self, pod: str) -> Vantage:
        """The way in by a client pod.

        Raises:
            EnvironmentBroken: there is no such pod, or no way in.
        """
        pods = self._environment.cluster.list("Pod", self._environment.namespace, labels=f"app={pod}")
        running = sorted((p for p in pods if _runs(p)), key=_is_ready, reverse=True)
        if not running:
            raise EnvironmentBroken(
                "MB0503",
                f'There is no running client pod labelled app={pod} in namespace "{self._environment.namespace}".',
                help="apply the manifests of meshbdd's folder vantage",
            )
        address = (running[0]["metadata"].get("annotations") or {}).get(OUTBOUND_ANNOTATION)
        if not address:
            raise EnvironmentBroken(
                "MB0504",
                f"The client pod {pod} cannot be entered from here; only the lab's pods can so far.",
                help="run on the lab: --target lab",
            )
        return Vantage(pod, address, Entry.SIDECAR if pod == CLIENT else Entry.PROXY)


def _runs(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def check_entry(result: Result) -> None:
    """See that a load got into the mesh.

    Raises:
        EnvironmentBroken: the client's own sidecar took no connection, or this machine had no port left for one; neither
            says anything of a service.
    """
    vantage, outcomes = result.plan.vantage, result.outcomes()
    if (broken := without_ports(result, outcomes)) is not None:
        raise broken
    if vantage is None or vantage.entry is not Entry.SIDECAR or vantage.name == PLAIN_CLIENT:
        return  # a client outside the mesh connects to what it asks, so a refusal is that one's word
    failed = sum(number for outcome, number in outcomes.items() if outcome.error in _NOT_EVEN_IN)
    if failed:
        raise EnvironmentBroken(
            "MB0524",
            f"{failed} of {len(result)} requests did not get into the mesh: the sidecar of the client pod "
            f"{vantage.name} ({vantage.address}) took no connection.",
            help="see whether the client pod runs",
        )
