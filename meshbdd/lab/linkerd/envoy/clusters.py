"""Clusters: a backend's balancer as its parent sees it, and a split as one cluster with a locality for each backend.

A split is one cluster because Linkerd picks the backend anew for every try, and skips backends that have nobody left:
that is what Envoy does with weighted localities, and not what it does with weighted clusters.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from meshbdd.lab.compile.envoy.types import ADS, HTTP_OPTIONS, HTTP_OPTIONS_KEY
from meshbdd.lab.linkerd.envoy import tls
from meshbdd.lab.linkerd.model import Accrual
from meshbdd.lab.linkerd.read.destinations import Place
from meshbdd.lab.linkerd.show.common import duration

Json = dict[str, Any]

CONNECT_TIMEOUT = "1s"
"""``proxy.outboundConnectTimeout``: linkerd2 charts/linkerd-control-plane/values.yaml."""
_NO_LIMIT = 4294967295
_KEEP_WEIGHT = 1_000_000
"""Percent; a locality keeps its whole weight while one of its endpoints is well."""
_TABLE = 10007
"""A prime; the least share that it can tell is 0.01 %."""
_LOOK_AGAIN = "0.050s"
"""How often Envoy looks whether a penalty is over."""
_SELDOM = 5
"""Failures in a row that an endpoint hardly ever has whose success rate is well."""
_LOOK_AT_RATE = "0.200s"
"""The same where it also judges success rates, which it does of the requests since it last looked: so long that enough come
together, so short that no penalty lasts much longer."""


@dataclass(frozen=True, slots=True)
class Part:
    """A backend's share of a cluster."""

    name: str
    weight: int
    places: tuple[Place, ...]


def outlier_detection(accrual: Accrual) -> Json | None:
    """Failure accrual, as near as Envoy comes to it; see ``deviations``."""
    failures, rate = _failures_in_a_row(accrual), accrual.judged_rate
    if failures == 0:
        return None
    made: Json = {
        "consecutive_5xx": failures,
        "enforcing_consecutive_5xx": 100,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "interval": _LOOK_AGAIN if rate is None else _LOOK_AT_RATE,
        "base_ejection_time": duration(max(accrual.backoff.least, Decimal("0.001"))),
        "max_ejection_time": duration(max(accrual.backoff.most, Decimal("0.001"))),
        "max_ejection_percent": 100,
        "always_eject_one_host": True,
    }
    if rate is not None:
        # Linkerd breaks below its threshold, Envoy at its own: the next whole percent of failures.
        most = (1 - Decimal(repr(rate.threshold))) * 100
        made |= {
            "failure_percentage_threshold": min(int(most) + 1, 100),
            "enforcing_failure_percentage": 100,
            "failure_percentage_minimum_hosts": 1,
            "failure_percentage_request_volume": max(rate.min_requests, 1),
        }
    jitter = accrual.backoff.least * Decimal(str(accrual.backoff.jitter))
    if jitter:
        made["max_ejection_time_jitter"] = duration(jitter)
    return made


def _failures_in_a_row(accrual: Accrual) -> int:
    """After how many failures in a row an endpoint is broken; 0: never. As many as the rate asks for break it, too."""
    if accrual.judged_rate is None:
        return accrual.max_failures
    alone = max(accrual.judged_rate.min_requests, _SELDOM)
    return min(accrual.max_failures, alone) if accrual.max_failures else alone


def balancer(name: str, parts: Sequence[Part], accrual: Accrual | None, filters: Sequence[Json] = ()) -> Json:
    """A cluster of endpoints.

    Args:
        name: Its name.
        parts: The backends in it.
        accrual: The parent's failure accrual.
        filters: Upstream HTTP filters before the codec; none for most.
    """
    options: Json = {
        "@type": HTTP_OPTIONS,
        "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
    }
    if filters:
        codec = {
            "name": "envoy.filters.http.upstream_codec",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
            },
        }
        options["http_filters"] = [*filters, codec]
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), _NO_LIMIT)
    made: Json = {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ADS, "service_name": name},
        "connect_timeout": CONNECT_TIMEOUT,
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {
            "healthy_panic_threshold": {},
            "locality_weighted_lb_config": {},
            # Envoy's default of a second would let requests meet an endpoint that is broken already.
            "update_merge_window": "0s",
        },
        "circuit_breakers": {"thresholds": [limits]},
        "transport_socket_matches": tls.upstream_matches(
            place.identity for part in parts for place in part.places if place.identity
        ),
        "typed_extension_protocol_options": {HTTP_OPTIONS_KEY: options},
    }
    if len(parts) > 1:
        # By a random hash for each try: weighted and without memory, which Envoy's other balancers of localities are not.
        made["lb_policy"] = "MAGLEV"
        made["maglev_lb_config"] = {"table_size": str(_TABLE)}
    detection = outlier_detection(accrual) if accrual is not None else None
    if detection is not None:
        made["outlier_detection"] = detection
    return made


def assignment(name: str, parts: Iterable[Part]) -> Json:
    """The endpoints of a cluster, a locality for each backend that has a weight.

    Envoy takes an endpoint once: one of several backends is listed with the first of them, and has the shares of all.
    """
    counted = [(index, part) for index, part in enumerate(parts) if part.weight and part.places]
    shares = _shares([part for _, part in counted])
    localities: list[Json] = []
    for index, part in counted:
        own = {place: shares.pop(_address(place)) for place in part.places if _address(place) in shares}
        if not own:
            continue
        each = math.gcd(*own.values())
        localities.append(
            {
                "locality": {"zone": str(index), "sub_zone": part.name},
                "load_balancing_weight": sum(own.values()),
                "lb_endpoints": [_endpoint(place, part.name, share // each) for place, share in own.items()],
            }
        )
    least = math.gcd(*(locality["load_balancing_weight"] for locality in localities))
    for locality in localities:
        locality["load_balancing_weight"] //= least
    made: Json = {"cluster_name": name}
    if localities:
        made["endpoints"] = localities
        made["policy"] = {"overprovisioning_factor": _KEEP_WEIGHT}
    return made


def _shares(parts: Sequence[Part]) -> dict[tuple[str, int], int]:
    """What each endpoint gets of all requests, in whole numbers: of each of its backends as much as the others there."""
    even = math.lcm(*(len(part.places) for part in parts))
    found: Counter[tuple[str, int]] = Counter()
    for part in parts:
        for place in part.places:
            found[_address(place)] += part.weight * even // len(part.places)
    return dict(found)


def _address(place: Place) -> tuple[str, int]:
    return place.address, place.port


def _endpoint(place: Place, backend: str, weight: int) -> Json:
    told: Json = {"backend": backend, "workload": place.workload, "pod": place.pod, "namespace": place.namespace}
    told["service_account"] = place.service_account
    if place.owner:
        told["owner"] = "|".join(place.owner)
    if place.template_hash:
        told["template_hash"] = place.template_hash
    metadata: Json = {"linkerd": told}
    if place.identity is not None:
        told["identity"] = place.identity
        metadata[tls.MATCH_KEY] = {tls.IDENTITY: place.identity}
    return {
        "endpoint": {"address": {"socket_address": {"address": place.address, "port_value": place.port}}},
        "load_balancing_weight": weight,
        "metadata": {"filter_metadata": metadata},
    }
