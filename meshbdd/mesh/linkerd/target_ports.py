"""Ports of new Services that lead to no port of their pods: such a port gets no endpoint, and nothing else would say why."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Sequence

from meshbdd.errors import BadInput, Inconclusive
from meshbdd.mesh.base import Object
from meshbdd.mesh.catalog import Catalog, selected
from meshbdd.pod_spec import named_ports


def refuse_no_target(catalog: Catalog, service: Object, documents: Sequence[Object]) -> None:
    """See that some pod behind a new Service has each port that the Service's ports lead to by name.

    Args:
        catalog: What stands in the cluster.
        service: The Service.
        documents: What is written with it: a Deployment may bring the pods.

    Raises:
        BadInput: there are pods behind it, and none has.
    """
    specs = list(_specs(catalog, service, documents))
    names = {name for spec in specs for name in named_ports(spec)}
    for port in (service.get("spec") or {}).get("ports") or [] if specs else []:
        target = port.get("targetPort")
        if isinstance(target, str) and target not in names:
            near = difflib.get_close_matches(target, names, 1)
            raise BadInput(
                "MB0451",
                f'Port {port["port"]} of Service {service["metadata"]["name"]} leads to target port "{target}", which no container '
                "of its pods has, so that port would have no endpoint.",
                help=f'did you mean "{near[0]}"?' if near else "correct targetPort",
            )


def _specs(catalog: Catalog, service: Object, documents: Sequence[Object]) -> Iterator[Object]:
    """The specs of the pods behind a Service: those that are there, and those to come."""
    home, wanted = service["metadata"]["namespace"], (service.get("spec") or {}).get("selector")
    if not wanted:
        return
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        yield from (pod["spec"] for pod in catalog.pods(wanted, home))
    for document in documents:
        if document["kind"] == "Deployment" and document["metadata"]["namespace"] == home:
            template = document["spec"]["template"]
            if selected(wanted, (template.get("metadata") or {}).get("labels") or {}):
                yield template["spec"]
