"""A ServiceProfile as Envoy routes: it switches the HTTPRoutes and the annotations of its Service off.

Retries have no limit for each request, only the profile's budget: the script of the outbound side gives each request as
many as are left (``scripts.downstream``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from meshbdd.lab.linkerd.envoy import scripts
from meshbdd.lab.linkerd.envoy.matches import header
from meshbdd.lab.linkerd.model import MAX_RETRY_BODY, OutboundPolicy
from meshbdd.lab.linkerd.read.destinations import Profile, ProfileRoute
from meshbdd.lab.linkerd.show.common import duration

Json = dict[str, Any]
Object = Mapping[str, Any]

_PAUSE = "0.001s"
"""Linkerd's are none at all; Envoy's least is a millisecond."""


def _matchers(condition: Object, *, negated: bool = False) -> list[list[Json]]:
    """A condition as alternatives, each a list of header matchers that must all hold; none where nothing can meet it."""
    parts: list[list[list[Json]]] = []
    for kind in ("all", "any"):
        if condition.get(kind) is not None:
            inner = [_matchers(entry, negated=negated) for entry in condition[kind]]
            parts.append(_every(inner) if (kind == "all") != negated else [one for some in inner for one in some])
    if condition.get("not"):
        parts.append(_matchers(condition["not"], negated=not negated))
    invert = {"invert_match": True} if negated else {}
    if condition.get("method"):
        parts.append([[{"name": ":method", "string_match": {"exact": condition["method"].upper()}, **invert}]])
    if condition.get("pathRegex"):
        whole = rf"(?:{condition['pathRegex']})(?:\?.*)?"
        parts.append([[{"name": ":path", "string_match": {"safe_regex": {"regex": whole}}, **invert}]])
    # Several fields of one condition must all hold; of its negation one is enough.
    return [one for some in parts for one in some] if negated else _every(parts)


def _every(parts: Iterable[list[list[Json]]]) -> list[list[Json]]:
    made: list[list[Json]] = [[]]
    for part in parts:
        made = [[*left, *right] for left in made for right in part]
    return made


def _holds(condition: Object, status: int) -> bool | None:
    """Whether a response has a class's condition; ``None`` where the proxy passes the condition over.

    It does so for a range of statuses that lacks an end: linkerd2-proxy linkerd/service-profiles/src/proto.rs.
    """
    said: list[bool | None] = []
    for name, every in (("all", all), ("any", any)):
        if condition.get(name) is not None:
            known = [held for entry in condition[name] if (held := _holds(entry, status)) is not None]
            said.append(every(known) if known else None)
    if condition.get("not") is not None:
        held = _holds(condition["not"], status)
        said.append(None if held is None else not held)
    if condition.get("status") is not None:
        low, high = condition["status"].get("min"), condition["status"].get("max")
        said.append(low <= status <= high if low and high else None)
    parts = [part for part in said if part is not None]
    return all(parts) if parts else None


def failures(route: ProfileRoute) -> list[int]:
    """The statuses that count as failures: by the first class that fits, else 5xx."""

    def fails(status: int) -> bool:
        fitting = next((entry for entry in route.responses if _holds(entry["condition"], status)), None)
        return status >= 500 if fitting is None else bool(fitting.get("isFailure"))

    return [status for status in range(200, 600) if fails(status)]


def _retry(route: ProfileRoute) -> Json | None:
    if route.retryable:
        return {
            "retry_on": "retriable-status-codes,connect-failure,reset",
            "retriable_status_codes": failures(route),
            "num_retries": 0,  # the script says how many
            "retry_back_off": {"base_interval": _PAUSE, "max_interval": _PAUSE},
        }
    if route.timeout is not None:
        # The timeout of a try ends with its headers, as a profile's does; a route's own would cut the body.
        return {"num_retries": 0, "per_try_timeout": duration(route.timeout)}
    return None


def write_routes(profile: Profile, policy: OutboundPolicy, logical: str, cluster: str) -> list[Json]:
    """The routes of a Service's port that a profile governs, in the profile's order; the rest passes plainly."""
    service = f"{profile.name}:{profile.port}"
    made = []
    for said in profile.routes:
        retried = said.retryable and profile.budget is not None and profile.budget.usable
        route = replace(said, retryable=retried)
        action: Json = {"cluster": cluster, "timeout": "0s"}
        retry = _retry(route)
        if retry is not None:
            action["retry_policy"] = retry
        if route.retryable and route.timeout is not None:
            action["timeout"] = duration(route.timeout)
        for headers in _matchers(route.condition):
            match: Json = {"prefix": "/", **({"headers": headers} if headers else {})}
            made.append(_route(match, action, _metadata(profile, policy, logical, route), service, route.name))
    plain = {"cluster": cluster, "timeout": "0s"}
    made.append(_route({"prefix": "/"}, plain, _metadata(profile, policy, logical, None), service, "default"))
    return made


def _route(match: Json, action: Json, metadata: Json, service: str, name: str) -> Json:
    return {
        "match": match,
        "name": f"ServiceProfile.{re.sub('[^A-Za-z0-9_.-]', '_', name)}",
        "metadata": {"filter_metadata": metadata},
        "per_request_buffer_limit_bytes": MAX_RETRY_BODY,
        "request_headers_to_add": [header("l5d-dst-canonical", service)],
        "response_headers_to_add": [header(scripts.REACHED, "%UPSTREAM_CLUSTER_RAW%")],
        "route": action,
    }


def _metadata(profile: Profile, policy: OutboundPolicy, logical: str, route: ProfileRoute | None) -> Json:
    told: Json = {
        "logical": logical, "parent": str(policy.meta), "route": route.name if route else "default",
        "retries_504": "false", "family": "http",
    }  # fmt: skip
    # Unlike a route's timeout a profile's ends the caller's connection too.
    made: Json = {"linkerd": told, scripts.ANSWERS: {"closes": True}}
    if route is not None and route.retryable and (budget := profile.budget) is not None:
        made[scripts.ANSWERS] |= {
            "budget": f"{profile.namespace}/{profile.name}",
            "ratio": budget.ratio,
            "reserve": budget.per_second * float(budget.ttl),
            "window": float(budget.ttl) * 1000,
        }
    return made
