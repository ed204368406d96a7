"""Families of metrics, and the labels that Linkerd's have in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from meshbdd.lab.linkerd.objects import label_of

Labels = dict[str, str]

_ABSENT = {"", "-"}
NO_PEER, NOT_DISCOVERED = "no_tls_from_remote", "not_provided_by_service_discovery"


class Families:
    """Samples by family, in the order in which they were made."""

    def __init__(self) -> None:
        self._samples: dict[str, dict[str, float]] = defaultdict(dict)
        self._types: dict[str, str] = {}

    def add(self, name: str, labels: Mapping[str, str], value: float, kind: str = "counter", suffix: str = "") -> None:
        """Add to a sample; one that is there already grows."""
        self._types[name] = kind
        inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
        key = f"{name}{suffix}{{{inside}}}" if inside else f"{name}{suffix}"
        self._samples[name][key] = self._samples[name].get(key, 0.0) + value

    def text(self) -> str:
        """The page."""
        lines = []
        for name in sorted(self._samples):
            lines.append(f"# TYPE {name} {self._types[name]}")
            lines += [f"{key} {_number(value)}" for key, value in self._samples[name].items()]
        return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def said(value: str) -> str:
    """A raw label's value; Envoy writes a dash for what is missing."""
    return "" if value in _ABSENT else value


def named(prefix: str, word: str, *fields: str) -> Labels:
    """``group|kind|…`` as labels (``envoy.labels``)."""
    values = [*word.split("|"), *[""] * len(fields)]
    return {f"{prefix}_{field}": said(value) for field, value in zip(fields, values, strict=False)}


def place(prefix: str, text: str) -> Labels:
    """``Service.namespace.name:port`` as labels."""
    kind, namespace, name, port = parts(text)
    return {
        f"{prefix}_group": "core", f"{prefix}_kind": kind, f"{prefix}_namespace": namespace, f"{prefix}_name": name,
        f"{prefix}_port": port, f"{prefix}_section_name": "",
    }  # fmt: skip


def parts(text: str) -> tuple[str, str, str, str]:
    """Kind, namespace, name and port of ``Service.namespace.name:port``."""
    kind, namespace, rest = [*text.split(".", 2), "", ""][:3]
    name, _, port = rest.partition(":")
    return kind, namespace, name, port


def target(address: str) -> Labels:
    """An address as labels."""
    ip, _, port = address.rpartition(":")
    return {"target_addr": address, "target_ip": ip, "target_port": port}


def client(identity: str) -> Labels:
    """Who calls, on the called side."""
    return {"tls": "true", "client_id": identity} if identity else {"tls": "no_identity", "no_tls_reason": NO_PEER}


def endpoint(backend: str, address: str, told: Mapping[str, str]) -> Labels:
    """An endpoint, on the calling side.

    Args:
        backend: ``Service.namespace.name:port``.
        address: Where it is.
        told: Its ``pod``, ``namespace`` and ``service_account``, and its ``identity`` where it has a proxy. Where something
            made the pod, its ``owner``, kind and name with a stroke between them, and the ``template_hash`` of a Deployment's.
    """
    _, namespace, name, _ = parts(backend)
    identity = said(told.get("identity", ""))
    tls = (
        {"tls": "true", "server_id": identity} if identity else {"tls": "no_identity", "no_tls_reason": NOT_DISCOVERED}
    )
    plane = {"dst_control_plane_ns": "linkerd"} if identity else {}
    kind, _, owner = said(told.get("owner", "")).partition("|")
    owned = {f"dst_{label_of(kind)}": owner} if owner else {}
    template_hash = said(told.get("template_hash", ""))
    if template_hash:
        owned["dst_pod_template_hash"] = template_hash
    return {
        "authority": f"{name}.{namespace}.svc.cluster.local", **target(address), **tls, **plane, **owned,
        "dst_namespace": said(told["namespace"]), "dst_pod": said(told["pod"]), "dst_service": name,
        "dst_serviceaccount": said(told["service_account"]), "dst_zone": "", "dst_zone_locality": "unknown",
    }  # fmt: skip
