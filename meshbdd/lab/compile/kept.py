"""Whether, and as what, the lab's Kubernetes API would keep an object: asked by ``compile``, for either mesh."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.lab.api import crds
from meshbdd.lab.api.calls import Caller, Validation
from meshbdd.lab.api.core import Api
from meshbdd.lab.api.errors import ApiError
from meshbdd.lab.api.store import clone

_SAID = frozenset({"name", "namespace", "labels", "annotations"})
"""What of an object's metadata is whoever wrote it's; the rest is the API's own."""
_ANY_ADDRESS = "10.96.0.1"
"""Of Services that are not headless; nothing of it is shown."""


class Keeper:
    """An API of its own, in which nothing stays but namespaces.

    Args:
        definitions: CustomResourceDefinitions of the kinds that it knows beside Kubernetes' own.
    """

    def __init__(self, definitions: Iterable[dict[str, Any]] = ()) -> None:
        self._api = Api(cluster_ip=lambda _service: _ANY_ADDRESS)
        for definition in definitions:
            self._api.create(crds.KEY, definition)

    def knows(self, obj: dict[str, Any]) -> bool:
        """Whether there is such a kind."""
        return self._api.registry.of_kind(obj["apiVersion"], obj["kind"]) is not None

    def keep(
        self, obj: dict[str, Any], *, validation: Validation = "Strict", tolerated: Collection[str] = ()
    ) -> dict[str, Any]:
        """The object with what the API drops and fills in; its metadata and status as they were said.

        Args:
            obj: It may come from a cluster.
            validation: What happens with fields that its definition does not know.
            tolerated: Reasons of violations (``FieldValueNotSupported`` …) for which it is given back unchanged.

        Raises:
            BadInput: the API would refuse it, in its own words.
        """
        told = self._api.registry.of_kind(obj["apiVersion"], obj["kind"])
        if told is None:
            raise BadInput(
                "MB0731", f"There is no kind {obj['kind']} ({obj['apiVersion']}).", help="correct the resource"
            )
        said = _SAID if told.namespaced else _SAID - {"namespace"}
        metadata = {key: value for key, value in obj["metadata"].items() if key in said}
        new = {**clone({key: value for key, value in obj.items() if key != "status"}), "metadata": clone(metadata)}
        namespace = metadata.get("namespace")
        version = obj["apiVersion"].rpartition("/")[2]
        try:
            if namespace and self._api.find("namespaces", namespace) is None:
                self._api.create("namespaces", {"metadata": {"name": namespace}})
            if obj["kind"] == "Namespace" and self._api.find("namespaces", metadata["name"]) is not None:
                return obj
            by = Caller(validation=validation, version=version, dry_run=True)
            kept = self._api.create(told.key, new, namespace, by=by)
        except ApiError as refusal:
            causes = (refusal.details or {}).get("causes") or []
            # Of an object whose metadata are at fault nothing else has been looked at.
            looked_at = not any(str(cause.get("field")).startswith("metadata.") for cause in causes)
            if causes and looked_at and all(cause["reason"] in tolerated for cause in causes):
                return obj
            raise BadInput("MB0731", f"{refusal.message.rstrip('.')}.", help="correct the resource") from None
        return {**kept, **{key: obj[key] for key in ("apiVersion", "kind", "metadata", "status") if key in obj}}
