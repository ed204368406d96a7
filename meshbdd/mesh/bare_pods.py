"""Pods without a sidecar, at which nothing holds that a proxy is to do: what is for them is refused before it is written."""

from __future__ import annotations

from collections.abc import Mapping

from meshbdd.errors import BadInput
from meshbdd.intents import MutualTls, ServiceRef, TlsMode
from meshbdd.mesh.catalog import Catalog


def see_sidecars(catalog: Catalog, service: ServiceRef, what: str, because: str = "", instead: str = "") -> None:
    """See that each pod behind a service has a sidecar, without which it would answer whoever asks.

    Args:
        catalog: Reads the cluster.
        service: The service.
        what: What needs them, and is not to be had else.
        because: Why it needs them, where its step does not say so.
        instead: What else may be written; empty: what needs them is to go.

    Raises:
        BadInput: one has none; or there is no such service, or it selects nothing.
    """
    pods = catalog.pods(catalog.labels_of(service), service.namespace)
    if bare := catalog.without_sidecar(pods, service.namespace):
        raise BadInput(
            "MB0428",
            f"{what}: pod {bare[0]} has no sidecar{because}.",
            help=f"give its pods sidecars, or {instead or 'take what needs them out of the scenario'}",
        )


def see_mode_held(catalog: Catalog, intent: MutualTls, home: ServiceRef | None = None) -> None:
    """See that a mode of mutual TLS comes true: a pod without a sidecar takes plaintext, whatever is demanded.

    The pods without a sidecar that a namespace has are often there on purpose: of a whole one it is enough that any pod has one.

    Args:
        catalog: Reads the cluster.
        intent: The mode.
        home: The Service that selects the service's own pods; ``None``: the service's does.

    Raises:
        BadInput: it does not; or there is no such service, or it selects nothing.
    """
    home = home or intent.service
    if home is not None and intent.mode is TlsMode.STRICT:
        see_sidecars(catalog, home, f"«{intent}» would not hold for every call to {intent.service}")
    labels = catalog.labels_of(home) if home else {}
    if bare := _one_of_all_bare(catalog, labels, intent.namespace):
        raise BadInput(
            "MB0428",
            f"«{intent}» would hold nowhere: no pod of {intent.service or intent.namespace} has a sidecar, pod {bare} for instance.",
            help="give its pods sidecars, or take the step out of the scenario",
        )


def see_calls_leave_by_sidecars(catalog: Catalog, caller: ServiceRef, what: str) -> None:
    """See that any pod of a caller has a sidecar, which does what is to be done to its calls.

    Args:
        catalog: Reads the cluster.
        caller: Who calls.
        what: What would hit none of its calls.

    Raises:
        BadInput: none has; or it is neither a Service nor a Deployment.
    """
    if bare := _one_of_all_bare(catalog, catalog.caller_labels(caller), caller.namespace):
        raise BadInput(
            "MB0474",
            f"{what} would hit no call of {caller}: its pod {bare} has no sidecar.",
            help="give its pods sidecars, or name a caller that has them",
        )


def _one_of_all_bare(catalog: Catalog, labels: Mapping[str, str], namespace: str) -> str:
    """The name of a pod with these labels where none of them has a sidecar; empty where one has, or there is none."""
    pods = catalog.pods(labels, namespace)
    bare = catalog.without_sidecar(pods, namespace)
    return bare[0] if bare and len(bare) == len(pods) else ""
