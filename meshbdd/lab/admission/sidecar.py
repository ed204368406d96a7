"""Sidecar: its schema, and what Istio's webhook checks and warns of.

https://istio.io/latest/docs/reference/config/networking/sidecar/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from meshbdd.lab.admission import rules
from meshbdd.lab.admission.destination_rule import POOL, pool
from meshbdd.lab.admission.fields import ANY, TEXT, UINT32, array, choice, obj, table
from meshbdd.lab.admission.rules import Object, Problem

_PORT = obj({"number": UINT32, "protocol": TEXT, "name": TEXT, "targetPort": UINT32})
_CAPTURE = choice("DEFAULT", "IPTABLES", "NONE")
_PROXY = obj({"host": TEXT, "subset": TEXT, "port": obj({"number": UINT32})}, required=("host",))
SCHEMA = obj({
    "workloadSelector": obj({"labels": table({**TEXT, "maxLength": 63})}),
    "egress": array(
        obj({"port": _PORT, "bind": TEXT, "captureMode": _CAPTURE, "hosts": array(TEXT)}, required=("hosts",))
    ),
    "ingress": array(ANY),
    "outboundTrafficPolicy": obj({"mode": choice("REGISTRY_ONLY", "ALLOW_ANY"), "egressProxy": _PROXY}),
    "inboundConnectionPool": POOL,
})  # fmt: skip


def problems(spec: Object, _namespace: str) -> Iterator[Problem]:
    """What Istio's webhook refuses."""
    yield from rules.selector((spec.get("workloadSelector") or {}).get("labels") or {}, "spec.workloadSelector.labels")
    blocks = [spec.get("egress"), spec.get("ingress")]
    if not any(blocks) and spec.get("outboundTrafficPolicy") is None and spec.get("inboundConnectionPool") is None:
        yield "spec", "a Sidecar says something"
    if spec.get("inboundConnectionPool") is not None:
        yield from pool(spec["inboundConnectionPool"], "spec.inboundConnectionPool")
    egress = spec.get("egress") or []
    for index, listener in enumerate(egress):
        path = f"spec.egress[{index}]"
        if listener.get("port") is None and index != len(egress) - 1:
            yield path, "a listener without a port stands last"
        if not listener.get("hosts"):
            yield f"{path}.hosts", "a listener has hosts"
        for host in listener.get("hosts") or []:
            yield from _host(host, f"{path}.hosts")
    outbound = spec.get("outboundTrafficPolicy") or {}
    if outbound.get("egressProxy") is not None and outbound.get("mode") != "ALLOW_ANY":
        yield "spec.outboundTrafficPolicy.egressProxy", "it goes with mode ALLOW_ANY only"


def _host(text: str, path: str) -> Iterator[Problem]:
    namespace, slash, host = text.partition("/")
    home = namespace.removeprefix("~")
    if not slash or not namespace or not host:
        yield path, f'"{text}" is not namespace/host'
    elif home not in {"", "*", "."} and not rules.is_dns_label(home):
        yield path, f'"{text}": "{namespace}" is no namespace'
    elif not rules.is_host(host):
        yield path, f'"{text}": "{host}" is no host name'


def warnings(spec: Object) -> Iterator[str]:
    """What Istio warns of: a selector without labels, hosts that stand twice."""
    if spec.get("workloadSelector") is not None and not (spec["workloadSelector"].get("labels") or {}):
        yield "spec.workloadSelector has no labels, so it selects the whole namespace"
    for index, listener in enumerate(spec.get("egress") or []):
        seen: defaultdict[str, set[str]] = defaultdict(set)
        for text in listener.get("hosts") or []:
            namespace, slash, host = text.partition("/")
            if not slash or namespace.startswith("~"):
                continue
            held = seen[namespace]
            if held if host == "*" else (host in held or "*" in held):
                yield f'spec.egress[{index}].hosts: "{text}" is there already'
            held.add(host)
        if "*" in seen["*"] and sum(map(bool, seen.values())) > 1:
            yield f"spec.egress[{index}].hosts: */* is everything; the other hosts say nothing"
