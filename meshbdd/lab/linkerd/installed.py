"""How a control plane was installed, as it says itself: the ConfigMap ``linkerd-config`` with its chart's values.

linkerd2 charts/linkerd-control-plane/{values.yaml,templates/config.yaml}
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Any

import yaml

from meshbdd.errors import BadInput
from meshbdd.lab.go import seconds
from meshbdd.lab.linkerd.settings import DEFAULT_POLICIES, ControlPlaneSettings
from meshbdd.lab.linkerd.values import ports

CONFIG = ("ConfigMap", "linkerd-config")
"""Kind and name, whatever the namespace; of several the last one counts."""
_DEFAULT = ControlPlaneSettings()
_HEADERS = "--allow-l5d-request-headers"
_NAMES: Mapping[str, tuple[str, ...]] = {
    "default_policy": ("proxy", "defaultInboundPolicy"),
    "opaque_ports": ("proxy", "opaquePorts"),
    "cluster_networks": ("clusterNetworks",),
    "domain": ("clusterDomain",),
    "egress_namespace": ("egress", "globalEgressNetworkNamespace"),
    "allow_request_headers": ("policyController", "additionalArgs"),
    "issuance_lifetime": ("identity", "issuer", "issuanceLifetime"),
}


def settings_of(objects: Iterable[Mapping[str, Any]], default: ControlPlaneSettings = _DEFAULT) -> ControlPlaneSettings:
    """The settings that a world's ``linkerd-config`` says.

    Args:
        objects: The world.
        default: What holds where it says nothing: the chart's defaults.

    Raises:
        BadInput: values that are no YAML mapping, or one that the control plane would not start with.
    """
    found = [obj for obj in objects if (obj["kind"], obj["metadata"]["name"]) == CONFIG]
    if not found:
        return default
    text = (found[-1].get("data") or {}).get("values", "")
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError:
        values = None
    if not isinstance(values, dict):
        raise _bad("values", "is no YAML mapping")
    said = {name: value for name, path in _NAMES.items() if (value := _at(values, path)) is not None}
    read = {name: _READ[name](".".join(_NAMES[name]), value) for name, value in said.items()}
    return dataclasses.replace(default, **read)


def _bad(where: str, why: str) -> BadInput:
    return BadInput("MB0737", f"ConfigMap linkerd-config: {where} {why}.", help="give it the values of Linkerd's chart")


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _bad(where, "is no text")
    return value


def _policy(where: str, value: Any) -> str:
    if value not in DEFAULT_POLICIES:
        raise _bad(where, f"is {value}, which is none of {', '.join(DEFAULT_POLICIES)}")
    return str(value)


def _networks(where: str, value: Any) -> tuple[str, ...]:
    found = tuple(part.strip() for part in _text(where, value).split(","))
    for block in found:
        try:
            ip_network(block)
        except ValueError:
            raise _bad(where, f"holds {block!r}, which is no block of addresses") from None
    return found


def _flags(where: str, value: Any) -> bool:
    if not isinstance(value, list):
        raise _bad(where, "is no list")
    return _HEADERS in value


def _lifetime(where: str, value: Any) -> dt.timedelta:
    try:
        found = dt.timedelta(seconds=float(seconds(_text(where, value))))
    except ValueError:
        raise _bad(where, f"is {value!r}, which is no duration of Go") from None
    if found <= dt.timedelta(0):
        raise _bad(where, f"is {value}, and no certificate would be valid")
    return found


_READ: Mapping[str, Any] = {
    "default_policy": _policy,
    "opaque_ports": lambda where, value: ports(_text(where, value)),
    "cluster_networks": _networks,
    "domain": _text,
    "egress_namespace": _text,
    "allow_request_headers": _flags,
    "issuance_lifetime": _lifetime,
}
