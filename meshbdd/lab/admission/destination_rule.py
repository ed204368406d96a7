"""DestinationRule: its schema, and what Istio's webhook checks and warns of.

https://istio.io/latest/docs/reference/config/networking/destination-rule/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshbdd.lab.admission import rules
from meshbdd.lab.admission.fields import (
    ANY,
    BOOL,
    INT32,
    NUMBER,
    TEXT,
    UINT32,
    Schema,
    array,
    choice,
    duration,
    obj,
    table,
)
from meshbdd.lab.admission.lacking import CREDENTIALS, UTILIZATION
from meshbdd.lab.admission.rules import Object, Problem
from meshbdd.lab.go import seconds

_TICK = "1ms"
_PORT = obj({"number": UINT32})
POOL = obj({
    "tcp": obj({
        "maxConnections": INT32, "connectTimeout": duration(least=_TICK), "idleTimeout": duration(),
        "maxConnectionDuration": duration(least=_TICK),
        "tcpKeepalive": obj({"probes": UINT32, "time": duration(least=_TICK), "interval": duration(least=_TICK)}),
    }),
    "http": obj({
        "http1MaxPendingRequests": INT32, "http2MaxRequests": INT32, "maxRequestsPerConnection": INT32,
        "maxRetries": INT32, "idleTimeout": duration(least=_TICK), "maxConcurrentStreams": INT32,
        "h2UpgradePolicy": choice("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"), "useClientProtocol": BOOL,
        "http2KeepAlive": obj({"interval": duration(least=_TICK), "timeout": duration(least=_TICK)}),
    }),
})  # fmt: skip
_OUTLIER = obj({
    "consecutiveErrors": INT32, "consecutive5xxErrors": UINT32, "consecutiveGatewayErrors": UINT32,
    "consecutiveLocalOriginFailures": UINT32, "splitExternalLocalOriginErrors": BOOL,
    "interval": duration(least=_TICK), "baseEjectionTime": duration(least=_TICK),
    "maxEjectionPercent": INT32, "minHealthPercent": INT32,
    "outlierDetectionHttpErrorCodes": array({**UINT32, "minimum": 100, "maximum": 599}),
})  # fmt: skip
_COOKIE = obj(
    {
        "name": TEXT, "path": TEXT, "ttl": duration(),
        "attributes": array(obj({"name": TEXT, "value": TEXT}, required=("name",))),
    },
    required=("name",),
)  # fmt: skip
_HASH = obj(
    {
        "httpHeaderName": TEXT, "useSourceIp": BOOL, "httpQueryParameterName": TEXT, "httpCookie": _COOKIE,
        "minimumRingSize": UINT32, "ringHash": obj({"minimumRingSize": UINT32}), "maglev": obj({"tableSize": UINT32}),
    },
    one_of=("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"),
)  # fmt: skip
_SHARE = {**NUMBER, "minimum": 0}
_WARMUP = obj(
    {"duration": duration(least=_TICK), "minimumPercent": {**_SHARE, "maximum": 100}, "aggression": _SHARE},
    required=("duration",),
)
_REGIONS = array(obj({"from": TEXT, "to": TEXT}))
_LOCALITY = obj({
    "distribute": array(obj({"from": TEXT, "to": table(UINT32)})), "failover": _REGIONS,
    "failoverPriority": array(TEXT), "enabled": BOOL,
})  # fmt: skip
_ZONES = obj({
    "failover": _REGIONS, "failoverPriority": array(TEXT), "enabled": BOOL, "minClusterSize": {**UINT32, "minimum": 1},
})  # fmt: skip
_BALANCER = obj(
    {
        "simple": choice("UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"),
        "consistentHash": _HASH, "localityLbSetting": _LOCALITY, "zoneAwareLbSetting": _ZONES,
        "warmupDurationSecs": duration(least=_TICK), "warmup": _WARMUP,
        "backendUtilization": ANY,
    },
    one_of=("simple", "consistentHash", "backendUtilization"),
)  # fmt: skip
_TLS = obj({
    "mode": choice("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"), "clientCertificate": TEXT, "privateKey": TEXT,
    "caCertificates": TEXT, "credentialName": TEXT, "subjectAltNames": array(TEXT), "sni": TEXT,
    "insecureSkipVerify": BOOL, "caCrl": TEXT,
})  # fmt: skip
_BUDGET = obj({
    "percent": {**_SHARE, "maximum": 100}, "budgetInterval": duration(), "minRetryConcurrency": UINT32,
})  # fmt: skip
_BLOCKS: Schema = {"connectionPool": POOL, "loadBalancer": _BALANCER, "outlierDetection": _OUTLIER, "tls": _TLS}
_POLICY = obj({
    **_BLOCKS, "portLevelSettings": array(obj({"port": _PORT, **_BLOCKS})),
    "tunnel": obj({"protocol": TEXT, "targetHost": TEXT, "targetPort": UINT32}, required=("targetHost", "targetPort")),
    "proxyProtocol": obj({"version": choice("V1", "V2")}), "retryBudget": _BUDGET,
})  # fmt: skip
SCHEMA = obj(
    {
        "host": TEXT, "trafficPolicy": _POLICY, "exportTo": array(TEXT),
        "subsets": array(obj({"name": TEXT, "labels": table(TEXT), "trafficPolicy": _POLICY}, required=("name",))),
        "workloadSelector": obj({"matchLabels": table({**TEXT, "maxLength": 63})}),
    },
    required=("host",),
)  # fmt: skip

_TOPOLOGY = frozenset({"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"})
_MAX_TABLE = 5_000_011
_COUNTS = (
    ("tcp", "maxConnections"), ("http", "http1MaxPendingRequests"), ("http", "http2MaxRequests"),
    ("http", "maxRequestsPerConnection"), ("http", "maxRetries"), ("http", "maxConcurrentStreams"),
)  # fmt: skip
_TIMES = (
    ("tcp", "connectTimeout"), ("tcp", "maxConnectionDuration"), ("http", "idleTimeout"),
)  # fmt: skip


def problems(spec: Object, namespace: str) -> Iterator[Problem]:
    """What Istio's webhook refuses."""
    if not rules.is_host(spec.get("host") or ""):
        yield "spec.host", f'"{spec.get("host") or ""}" is no host name'
    yield from _policy(spec.get("trafficPolicy"), "spec.trafficPolicy")
    names = [entry.get("name") for entry in spec.get("subsets") or []]
    for index, entry in enumerate(spec.get("subsets") or []):
        path = f"spec.subsets[{index}]"
        if not entry.get("name"):
            yield f"{path}.name", "a subset has a name"
        yield from rules.subset_name(entry.get("name") or "", f"{path}.name")
        if names.index(entry.get("name")) != index:
            yield f"{path}.name", f'"{entry.get("name")}" stands twice'
        yield from rules.labels(entry.get("labels") or {}, f"{path}.labels")
        yield from _policy(entry.get("trafficPolicy"), f"{path}.trafficPolicy")
    selector = spec.get("workloadSelector")
    yield from rules.export_to(spec.get("exportTo") or [], namespace, "spec.exportTo", selects=selector is not None)
    yield from rules.selector((selector or {}).get("matchLabels") or {}, "spec.workloadSelector.matchLabels")


def _policy(block: Object | None, path: str, *, port_level: bool = False) -> Iterator[Problem]:
    """A traffic policy, of a host, a subset or a port."""
    if block is None:
        return
    said = [*_BLOCKS, *(() if port_level else ("portLevelSettings", "tunnel", "proxyProtocol", "retryBudget"))]
    if not any(block.get(name) is not None for name in said):
        yield path, "a traffic policy says something"
    if block.get("outlierDetection") is not None:
        yield from _outlier(block["outlierDetection"], f"{path}.outlierDetection")
    if block.get("connectionPool") is not None:
        yield from pool(block["connectionPool"], f"{path}.connectionPool")
    yield from _balancer(block.get("loadBalancer") or {}, f"{path}.loadBalancer")
    yield from _localities(block.get("loadBalancer") or {}, f"{path}.loadBalancer")
    yield from _tls(block.get("tls") or {}, f"{path}.tls")
    if block.get("tunnel") is not None:
        yield from _tunnel(block["tunnel"], f"{path}.tunnel")
        if block.get("proxyProtocol") is not None:
            yield f"{path}.proxyProtocol", "it does not go with a tunnel"
    for index, entry in enumerate(block.get("portLevelSettings") or []):
        where = f"{path}.portLevelSettings[{index}]"
        if entry.get("port") is None:
            yield f"{where}.port", "a port-level setting names its port"
        yield from _policy(entry, where, port_level=True)


def _outlier(block: Object, path: str) -> Iterator[Problem]:
    for name in ("maxEjectionPercent", "minHealthPercent"):
        if name in block and not 0 <= block[name] <= 100:
            yield f"{path}.{name}", f"{block[name]} is not between 0 and 100"
    if block.get("consecutiveLocalOriginFailures") and not block.get("splitExternalLocalOriginErrors"):
        yield f"{path}.consecutiveLocalOriginFailures", "it counts only with splitExternalLocalOriginErrors"
    for name in ("baseEjectionTime", "interval"):
        yield from rules.milliseconds(block.get(name), f"{path}.{name}")


def pool(block: Object, path: str) -> Iterator[Problem]:
    """Connection limits are not negative, durations whole milliseconds, and something is said."""
    if block.get("tcp") is None and block.get("http") is None:
        yield path, "a connection pool says something of tcp or http"
    for side, name in _COUNTS:
        value = (block.get(side) or {}).get(name)
        if value is not None and value < 0:
            yield f"{path}.{side}.{name}", f"{value} is negative"
    for side, name in _TIMES:
        yield from rules.milliseconds((block.get(side) or {}).get(name), f"{path}.{side}.{name}")
    http, tcp = block.get("http") or {}, block.get("tcp") or {}
    if http.get("h2UpgradePolicy") == "UPGRADE" and http.get("useClientProtocol"):
        yield f"{path}.http", "useClientProtocol must not be set beside h2UpgradePolicy UPGRADE"
    for name in ("interval", "timeout") if http.get("http2KeepAlive") is not None else ():
        if http["http2KeepAlive"].get(name) is None:
            yield f"{path}.http.http2KeepAlive.{name}", "it is required"
        yield from rules.milliseconds(http["http2KeepAlive"].get(name), f"{path}.http.http2KeepAlive.{name}")
    # An idle timeout of 0 turns it off.
    if tcp.get("idleTimeout") and seconds(tcp["idleTimeout"]):
        yield from rules.milliseconds(tcp["idleTimeout"], f"{path}.tcp.idleTimeout")
    for name in ("time", "interval"):
        yield from rules.milliseconds((tcp.get("tcpKeepalive") or {}).get(name), f"{path}.tcp.tcpKeepalive.{name}")


def _balancer(block: Object, path: str) -> Iterator[Problem]:
    hashing = block.get("consistentHash") or {}
    where = f"{path}.consistentHash"
    names = [entry.get("name") for entry in (hashing.get("httpCookie") or {}).get("attributes") or []]
    for name in {name for name in names if not name or names.count(name) > 1}:
        yield f"{where}.httpCookie.attributes", f'"{name or ""}" is empty or stands twice'
    if hashing.get("minimumRingSize") and (hashing.get("ringHash") is not None or hashing.get("maglev") is not None):
        yield f"{where}.minimumRingSize", "it does not go with ringHash or maglev"
    size = (hashing.get("maglev") or {}).get("tableSize") or 0
    if hashing.get("maglev") is not None and not (0 < size < _MAX_TABLE and _is_prime(size)):
        yield f"{where}.maglev.tableSize", f"{size} is no prime number below {_MAX_TABLE}"
    warmup = block.get("warmup")
    if warmup is not None:
        yield from rules.milliseconds(warmup.get("duration"), f"{path}.warmup.duration")
        if warmup.get("aggression") is not None and warmup["aggression"] <= 0:
            yield f"{path}.warmup.aggression", f"{warmup['aggression']} is not above 0"


def _tls(block: Object, path: str) -> Iterator[Problem]:
    mode, skips = block.get("mode"), bool(block.get("insecureSkipVerify"))
    if mode not in {"SIMPLE", "MUTUAL"}:
        return
    for name in ("caCertificates", "subjectAltNames", *(("credentialName",) if mode == "SIMPLE" else ())):
        if skips and block.get(name):
            yield f"{path}.{name}", "it does not go with insecureSkipVerify"
    if block.get("credentialName"):
        for name in ("clientCertificate", "privateKey", "caCertificates", "caCrl"):
            if block.get(name):
                yield f"{path}.{name}", "it does not go with credentialName"
    elif mode == "MUTUAL":
        for name in ("clientCertificate", "privateKey"):
            if not block.get(name):
                yield f"{path}.{name}", "mode MUTUAL needs a certificate and its key"


def _tunnel(block: Object, path: str) -> Iterator[Problem]:
    if block.get("protocol") not in {None, "", "CONNECT", "POST"}:
        yield f"{path}.protocol", f'"{block["protocol"]}" is neither CONNECT nor POST'
    if not rules.is_host(block.get("targetHost") or "") or "*" in block["targetHost"]:
        yield f"{path}.targetHost", f'"{block.get("targetHost") or ""}" is neither a host name nor an IP address'
    yield from rules.port(block.get("targetPort") or 0, f"{path}.targetPort")


def _localities(block: Object, path: str) -> Iterator[Problem]:
    """What nearness may say; https://istio.io/latest/docs/reference/config/networking/destination-rule/."""
    near, zones = block.get("localityLbSetting"), block.get("zoneAwareLbSetting")
    if near is not None and zones is not None:
        yield f"{path}.zoneAwareLbSetting", "it does not go with localityLbSetting"
    near, where = near or {}, f"{path}.localityLbSetting"
    if near.get("distribute") and near.get("failover"):
        yield f"{where}.failover", "it does not go with distribute"
        return
    for name in near.get("failoverPriority") or [] if near.get("failover") else []:
        if name in _TOPOLOGY:
            yield f"{where}.failoverPriority", f"{name} does not go with failover"
    for index, rule in enumerate(near.get("distribute") or []):
        shares = (rule.get("to") or {}).values()
        if any(not 0 < share <= 100 for share in shares):
            yield f"{where}.distribute[{index}].to", "a share is between 1 and 100"
        elif sum(shares) != 100:
            yield f"{where}.distribute[{index}].to", f"the shares sum to {sum(shares)}, not to 100"
        targets = sorted(rule.get("to") or {}, key=lambda pattern: str(pattern).endswith("*"))
        yield from _apart(targets, f"{where}.distribute[{index}].to")
    yield from _apart([rule.get("from") or "" for rule in near.get("distribute") or []], f"{where}.distribute")
    yield from _regions(near.get("failover") or [], f"{where}.failover")
    for name in (zones or {}).get("failoverPriority") or []:
        if name in _TOPOLOGY:
            yield f"{path}.zoneAwareLbSetting.failoverPriority", f"{name} is heeded by itself"
    yield from _regions((zones or {}).get("failover") or [], f"{path}.zoneAwareLbSetting.failover")


def _apart(patterns: Iterable[str], path: str) -> Iterator[Problem]:
    """Localities are whole, with a wildcard at the end at most, and none lies within one before it; what else may follow."""
    before: list[list[str]] = []
    for pattern in patterns:
        items = pattern.split("/", 2)
        if "*" in pattern[:-1] or not all(items):
            yield path, f'"{pattern}" is not region, region/zone or region/zone/subzone; "*" stands at the end'
            return
        whole = [item for item in items if item != "*"]
        within = any(whole[: len(other)] == other for other in before)
        if within or (items[-1] != "*" and any(other[: len(whole)] == whole for other in before)):
            yield path, f'"{pattern}" overlaps another one'
            return
        before.append(whole)


def _regions(rules_: Iterable[Object], path: str) -> Iterator[Problem]:
    for index, rule in enumerate(rules_):
        source, target = rule.get("from") or "", rule.get("to") or ""
        if source == target:
            yield f"{path}[{index}]", "it leads from a region to another one"
        if any(sign in source + target for sign in "/*"):
            yield f"{path}[{index}]", "it names regions alone, without wildcards"


def unsupported(spec: Object) -> Iterator[Problem]:
    """What the lab does not have: certificates out of Secrets and ConfigMaps, balancing by reported load.

    In a rule that is for all workloads a Secret's name counts for nothing, so nothing is missed there.
    """
    blocks = [("spec.trafficPolicy", spec.get("trafficPolicy") or {})]
    blocks += [
        (f"spec.subsets[{i}].trafficPolicy", s.get("trafficPolicy") or {})
        for i, s in enumerate(spec.get("subsets") or [])
    ]
    for where, policy in list(blocks):
        for index, entry in enumerate(policy.get("portLevelSettings") or []):
            blocks.append((f"{where}.portLevelSettings[{index}]", entry))
    for where, policy in blocks:
        tls = policy.get("tls") or {}
        name = (tls.get("credentialName") or "") if tls.get("mode") in {"SIMPLE", "MUTUAL"} else ""
        if name.startswith("configmap://") or (name and spec.get("workloadSelector") is not None):
            yield f"{where}.tls.credentialName", f"the lab does not have {CREDENTIALS}"
        if (policy.get("loadBalancer") or {}).get("backendUtilization") is not None:
            yield f"{where}.loadBalancer.backendUtilization", f"the lab does not have {UTILIZATION}"


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def warnings(spec: Object) -> Iterator[str]:
    """What Istio warns of: fields whose meaning is gone, in the host's own policy; a selector without labels."""
    policy = spec.get("trafficPolicy") or {}
    for name in ("localityLbSetting", "zoneAwareLbSetting"):
        near = (policy.get("loadBalancer") or {}).get(name) or {}
        if (near.get("failover") or near.get("failoverPriority")) and policy.get("outlierDetection") is None:
            yield f"spec.trafficPolicy.loadBalancer.{name}: calls fail over only with an outlierDetection"
    if (policy.get("outlierDetection") or {}).get("consecutiveErrors"):
        field = "spec.trafficPolicy.outlierDetection.consecutiveErrors"
        yield f"{field} is deprecated and does nothing; use consecutive5xxErrors"
    if ((policy.get("loadBalancer") or {}).get("consistentHash") or {}).get("minimumRingSize"):
        field = "spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize"
        yield f"{field} is deprecated; use ringHash"
    if spec.get("workloadSelector") is not None and not (spec["workloadSelector"].get("matchLabels") or {}):
        yield "spec.workloadSelector has no labels, so it selects the whole namespace"
