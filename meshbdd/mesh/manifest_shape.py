"""What every object of a manifest must have: a kind, a name, a namespace, texts and a version as Kubernetes takes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from meshbdd.cluster.kinds import KINDS
from meshbdd.errors import BadInput, Place
from meshbdd.mesh.manifest_lines import place_of

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST_NAME = 253
"""A DNS subdomain: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/"""

_SERVED = {
    "networking.istio.io": ("v1", "v1beta1", "v1alpha3"),
    "security.istio.io": ("v1", "v1beta1"),
    "policy.linkerd.io": ("v1alpha1",),
    "gateway.networking.k8s.io": ("v1", "v1beta1", "v1alpha3", "v1alpha2"),
}
_SERVED_OF_KIND = {
    ("networking.istio.io", "EnvoyFilter"): ("v1alpha3",),
    ("policy.linkerd.io", "Server"): ("v1beta3", "v1beta2", "v1beta1"),
    ("policy.linkerd.io", "HTTPRoute"): ("v1beta3", "v1beta2", "v1beta1"),
    ("policy.linkerd.io", "ServerAuthorization"): ("v1beta1",),
}
"""The versions of the groups that are written here: istio/api's customresourcedefinitions.gen.yaml, linkerd2's
charts/linkerd-crds and Gateway API's apis/ folder."""


def check_shape(document: Any, file: Path) -> None:
    """See that a document is an object.

    Args:
        document: The document; an empty namespace is taken out of it.
        file: Where it stands.

    Raises:
        BadInput: it is none, or one that no API server would take.
    """
    if (
        not isinstance(document, dict)
        or not isinstance(document.get("kind"), str)
        or not isinstance(document.get("metadata"), dict)
        or not isinstance(document["metadata"].get("name"), str)
        or not document["metadata"]["name"]
    ):
        raise BadInput(
            "MB0419",
            f"{file.name} holds a document without kind and metadata.name.",
            place=Place(file),
            help="add them",
        )
    _check_name(document, file)
    _check_namespace(document, file)
    _check_texts(document, file)
    _check_version(document, file)


def _check_name(document: dict[str, Any], file: Path) -> None:
    kind, name = document["kind"], document["metadata"]["name"]
    if kind in KINDS and not (len(name) <= _LONGEST_NAME and _NAME.fullmatch(name)):
        raise BadInput(
            "MB0475",
            f'{kind} "{name}" has a name that Kubernetes does not take.',
            place=place_of(file, document, "metadata.name"),
            help="write lower-case letters, digits, '-' and '.'; a letter or a digit first and last",
        )


def _check_namespace(document: dict[str, Any], file: Path) -> None:
    """One that is empty is none, as Kubernetes takes it."""
    meta = document["metadata"]
    if not isinstance(meta.get("namespace") or "", str):
        raise BadInput(
            "MB0478",
            f"{document['kind']} {meta['name']} has a namespace that is no text.",
            place=place_of(file, document, "metadata.namespace"),
            help="write metadata.namespace as one name",
        )
    if not meta.get("namespace"):
        meta.pop("namespace", None)


def _check_texts(document: dict[str, Any], file: Path) -> None:
    """YAML makes numbers and truth values of what has no quotes; an API server takes none here, and nobody reads one."""
    meta = document["metadata"]
    for field in ("annotations", "labels"):
        there = meta.get(field) or {}
        path, which, advice = f"metadata.{field}", "", "write names with their values"
        if isinstance(there, dict):
            bad = next(
                (name for name, text in there.items() if not (isinstance(name, str) and isinstance(text, str))), None
            )
            if bad is None and None not in there:
                continue
            path, which, advice = f"{path}['{bad}']", f", and {bad} is none", "put the name and its value in quotes"
        raise BadInput(
            "MB0479",
            f"{document['kind']} {meta['name']}: metadata.{field} must be strings{which}.",
            place=place_of(file, document, path),
            help=advice,
        )


def _check_version(document: dict[str, Any], file: Path) -> None:
    """A plan writes an object as the version that it knows, so nobody else would say that there is none like this."""
    kind, wanted = document["kind"], str(document.get("apiVersion") or "")
    group, _, version = wanted.rpartition("/")
    served = _SERVED_OF_KIND.get((group, kind)) or _SERVED.get(group)
    if served and version not in served:
        raise BadInput(
            "MB0476",
            f"{kind} {document['metadata']['name']} is of {wanted}, a version that there is not.",
            place=place_of(file, document, "apiVersion"),
            help=f"write {group}/{served[0]}",
        )
