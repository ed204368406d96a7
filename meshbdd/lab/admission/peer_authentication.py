"""PeerAuthentication: its schema and what Istio's webhook checks; the lab compiles all of it.

https://istio.io/latest/docs/reference/config/security/peer_authentication/
"""

from __future__ import annotations

from collections.abc import Iterator

from meshbdd.lab.admission import rules
from meshbdd.lab.admission.fields import TEXT, choice, obj, table
from meshbdd.lab.admission.rules import Object, Problem

_MODE = obj({"mode": choice("UNSET", "DISABLE", "PERMISSIVE", "STRICT")})
SCHEMA = obj({
    "selector": obj({"matchLabels": table({**TEXT, "maxLength": 63})}), "mtls": _MODE,
    "portLevelMtls": {**table(_MODE), "minProperties": 1},
})  # fmt: skip


def problems(spec: Object, _namespace: str) -> Iterator[Problem]:
    """What Istio's webhook refuses."""
    wanted = (spec.get("selector") or {}).get("matchLabels") or {}
    yield from rules.selector(wanted, "spec.selector.matchLabels")
    if spec.get("portLevelMtls") and not wanted:
        yield "spec.portLevelMtls", "modes of single ports need a selector"
    for number in spec.get("portLevelMtls") or {}:
        if not str(number).isdigit() or not 1 <= int(number) <= 65535:
            yield f"spec.portLevelMtls.{number}", f'"{number}" is no port'


def warnings(spec: Object) -> Iterator[str]:
    """What Istio warns of."""
    if spec.get("selector") is not None and not (spec["selector"].get("matchLabels") or {}):
        yield "spec.selector has no labels, so it selects the whole namespace"
