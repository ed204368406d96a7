"""What the API and the webhooks of the meshes would say of an object. They are played by the lab; without it none is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshbdd.errors import BadInput

Object = Mapping[str, Any]


def admitting(mesh: str) -> Callable[[Object], None]:
    """What is asked before each write: it raises what would be said, as ``BadInput``."""

    def admit(obj: Object) -> None:
        from meshbdd.sense import catalog  # noqa: PLC0415 - slow to import

        see_fields(obj, mesh)
        if (told := refusal(obj, mesh)) is not None:
            raise BadInput(catalog.WOULD_BE_REFUSED.code, told, help=catalog.WOULD_BE_REFUSED.help)

    return admit


def see_fields(obj: Object, mesh: str) -> None:
    """See that a kind has the fields of an object.

    Raises:
        RefusedObject: it has not.
    """
    from meshbdd.cluster.refusals import nearest_field, unknown_field  # noqa: PLC0415 - slow to import

    try:
        from meshbdd.lab import admission  # noqa: PLC0415 - an optional part
        from meshbdd.lab.linkerd.admission import definitions, webhook  # noqa: PLC0415
    except ImportError:
        return
    if _is_linkerds(obj, mesh):
        unknown = sorted(path for path, why in webhook.decide(obj).schema if why == webhook.UNKNOWN_FIELD)
        version = str(obj.get("apiVersion") or "").rpartition("/")[2]
        spec = definitions.spec_schema(_group(obj), obj["kind"], version) or {}
        schema: Object = {"properties": {"spec": spec}}
    else:
        unknown = admission.unknown_fields(obj)
        definition = admission.definition_of(obj["kind"], obj.get("apiVersion"))
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] if definition else {}
    if unknown:
        raise unknown_field(obj, unknown[0], nearest_field(schema, unknown[0]))


def refusal(obj: Object, mesh: str) -> str | None:
    """Who would not admit an object, and why, in a sentence; ``None``: it is admitted."""
    try:
        from meshbdd.lab.admission import admit  # noqa: PLC0415 - an optional part
        from meshbdd.lab.linkerd.admission import webhook  # noqa: PLC0415
    except ImportError:
        return None
    if _is_linkerds(obj, mesh):
        decision = webhook.decide(obj)
        fault = next((f"{path}: {why}" for path, why in decision.schema if why != webhook.UNKNOWN_FIELD), None)
        if fault is None and decision.denied is None:
            return None
        who = "The API" if fault else "Linkerd"
        return f"{who} refuses it: {obj['kind']} {obj['metadata']['name']}: {fault or decision.denied}."
    asked = admit(obj)
    if asked.refused is None or asked.refused_by == "unsupported":
        return None
    # Istio's own objects pass its webhook, all others only the API's definitions of their kinds
    return f"{'Istio' if _group(obj).endswith('istio.io') else 'The API'} refuses it: {asked.refused}."


def _is_linkerds(obj: Object, mesh: str) -> bool:
    """Whether an object passes Linkerd's webhook: its own kinds, and where it is the mesh those of the Gateway API."""
    from meshbdd.lab.linkerd.admission import definitions  # noqa: PLC0415 - an optional part

    group = _group(obj)
    known = definitions.spec_schema(group, obj["kind"]) is not None
    return known and (group.endswith("linkerd.io") or mesh == "linkerd")


def _group(obj: Object) -> str:
    return str(obj.get("apiVersion") or "").rpartition("/")[0]
