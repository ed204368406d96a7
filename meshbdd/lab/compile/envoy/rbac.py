"""Authorization policies → Envoy's RBAC filters, for HTTP and for TCP.

As istio/istio ``pilot/pkg/security/authz`` does it. A rule that needs HTTP cannot be written for TCP: of an ALLOW policy
it is left out (less is allowed), of the others only the condition is (more is denied, or counted).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

from meshbdd.lab.compile.envoy.types import HTTP_RBAC, NETWORK_RBAC, URI_TEMPLATE, typed
from meshbdd.lab.compile.policies import AccessPolicy, AccessRule, Condition
from meshbdd.lab.compile.read.authorization_policy import CLAIMS, HEADERS, METADATA_PREFIX
from meshbdd.lab.compile.values import quote

Matcher = dict[str, Any]
_JWT, _PAYLOAD = "envoy.filters.http.jwt_authn", "payload"
_ANYTHING: Matcher = {"safe_regex": {"regex": ".+"}}
_NEVER = {"permissions": [{"not_rule": {"any": True}}], "principals": [{"not_id": {"any": True}}]}
_ACTIONS: dict[str, str | None] = {"AUDIT": "LOG", "DENY": "DENY", "ALLOW": None}
"""In the order of the filters; ``None`` is protobuf's default."""
_SHADOW = {"ALLOW": "istio_dry_run_allow_", "DENY": "istio_dry_run_deny_", "AUDIT": ""}


class _HttpOnly(Exception):
    """A condition that a TCP connection cannot be asked."""


def http_filters(policies: Iterable[AccessPolicy]) -> list[dict[str, Any]]:
    """The HTTP filters: AUDIT, DENY, ALLOW."""
    return [typed("envoy.filters.http.rbac", HTTP_RBAC, config) for config in _configs(list(policies), tcp=False)]


def network_filters(policies: Iterable[AccessPolicy]) -> list[dict[str, Any]]:
    """The network filters for chains that do not speak HTTP."""
    return [
        typed("envoy.filters.network.rbac", NETWORK_RBAC, {**config, "stat_prefix": "tcp."})
        for config in _configs(list(policies), tcp=True)
    ]


def _configs(policies: list[AccessPolicy], *, tcp: bool) -> Iterable[dict[str, Any]]:
    for action in _ACTIONS:
        mine = [policy for policy in policies if policy.action == action]
        if not mine:
            continue
        config: dict[str, Any] = {}
        if any(not policy.dry_run for policy in mine):
            config["rules"] = _rules([policy for policy in mine if not policy.dry_run], tcp=tcp)
        # Without dry runs Istio's prefix is that of ALLOW, whatever the action.
        prefix = _SHADOW["ALLOW"]
        if any(policy.dry_run for policy in mine):
            config["shadow_rules"] = _rules([policy for policy in mine if policy.dry_run], tcp=tcp)
            prefix = _SHADOW[action]
        if prefix:
            config["shadow_rules_stat_prefix"] = prefix
        yield config


def _rules(policies: list[AccessPolicy], *, tcp: bool) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for policy in policies:
        for index, rule in enumerate(policy.rules):
            written = None if rule is None else _rule(rule, tcp=tcp, strict=policy.action == "ALLOW")
            if written is not None:
                made[f"ns[{policy.namespace}]-policy[{policy.name}]-rule[{index}]"] = written
        if not policy.rules:
            made[f"ns[{policy.namespace}]-policy[{policy.name}]-rule[0]"] = _NEVER
    action = _ACTIONS[policies[0].action]
    return {**({"action": action} if action else {}), **({"policies": made} if made else {})}


def _rule(rule: AccessRule, *, tcp: bool, strict: bool) -> dict[str, Any] | None:
    try:
        return {
            "permissions": [_all("rule", conditions, tcp=tcp, strict=strict) for conditions in rule.operations],
            "principals": [_all("id", conditions, tcp=tcp, strict=strict) for conditions in rule.sources],
        }
    except _HttpOnly:
        return None


def _set(word: Literal["and", "or"], kind: str, items: list[Matcher]) -> Matcher:
    return {f"{word}_{kind}s": {f"{kind}s": items}}


def _all(kind: str, conditions: Iterable[Condition], *, tcp: bool, strict: bool) -> Matcher:
    parts: list[Matcher] = []
    for condition in conditions:
        for values, negated in ((condition.values, False), (condition.not_values, True)):
            if not values:
                continue
            try:
                written = _written(kind, condition.key, values, tcp=tcp)
            except _HttpOnly:
                if strict:
                    raise
                continue
            parts.append({f"not_{kind}": written} if negated else written)
    return _set("and", kind, parts or [{"any": True}])


def _written(kind: str, key: str, values: tuple[str, ...], *, tcp: bool) -> Matcher:
    """One attribute against several values: any of them."""
    name = _name(key)
    if tcp and (name in {"host", "method", "path"} or name.startswith("request.")):
        raise _HttpOnly(key)
    if name == "request.auth.principal":
        subjects = [_subject(value) for value in values]
        return subjects[0] if len(subjects) == 1 else _set("or", kind, subjects)
    if name in {"request.auth.audiences", "request.auth.presenter", CLAIMS}:
        return {"metadata": _claim(_claims(key, name), values)}
    if name == METADATA_PREFIX:
        return {"metadata": _filter_metadata(key, values)}
    return _set("or", kind, [_SINGLE[name](key, value) for value in values])


def _name(key: str) -> str:
    for prefix in (HEADERS, CLAIMS, METADATA_PREFIX):
        if key.startswith(prefix):
            return prefix
    return key


def _text(value: str, prefix: str = "", *, ignore_case: bool = False) -> Matcher:
    """A value with ``*`` at its start, at its end, or alone."""
    more = {"ignore_case": True} if ignore_case else {}
    if value == "*":
        return _ANYTHING
    if value.startswith("*"):
        return {"safe_regex": {"regex": f"{prefix}.*{quote(value[1:])}"}} if prefix else {"suffix": value[1:], **more}
    if value.endswith("*"):
        return {"prefix": prefix + value[:-1], **more}
    return {"exact": prefix + value, **more}


def _header(name: str, value: str, *, ignore_case: bool = False) -> Matcher:
    if value == "*":
        return {"header": {"name": name, "present_match": True}}
    return {"header": {"name": name, "string_match": _text(value, ignore_case=ignore_case)}}


def _range(value: str) -> Matcher:
    address, _, bits = value.partition("/")
    return {
        "address_prefix": address,
        "prefix_len": int(bits) if bits else ipaddress.ip_address(address).max_prefixlen,
    }


def _peer(match: Matcher) -> Matcher:
    return {"authenticated": {"principal_name": match}}


def _trust_domain(_key: str, value: str) -> Matcher:
    if value == "*":
        return _peer({"prefix": "spiffe://"})
    if "*" not in value:
        return _peer({"prefix": f"spiffe://{value}/"})
    before, _, after = value.partition("*")
    return _peer({"safe_regex": {"regex": f"spiffe://{quote(before)}[^/]*{quote(after)}/.*"}})


def _namespace(_key: str, value: str) -> Matcher:
    pattern = ".*".join(quote(part) for part in value.split("*"))
    return _peer({"safe_regex": {"regex": f".*/ns/{pattern}/.*"}})


def _account(_key: str, value: str) -> Matcher:
    namespace, _, account = value.partition("/")
    return _peer(
        {"safe_regex": {"regex": f"spiffe://.+/ns/{quote(namespace)}/(.+/|)sa/{quote(account)}(/.+)?"}},
    )


def _path(_key: str, value: str) -> Matcher:
    if "{*}" in value or "{**}" in value:
        template = value.replace("{*}", "*").replace("{**}", "**")
        return {"uri_template": typed("uri-template", URI_TEMPLATE, {"path_template": template})}
    return {"url_path": {"path": _text(value)}}


_SINGLE: dict[str, Callable[[str, str], Matcher]] = {
    "host": lambda _key, value: _header(":authority", value, ignore_case=True),
    "method": lambda _key, value: _header(":method", value),
    "path": _path,
    "destination.ip": lambda _key, value: {"destination_ip": _range(value)},
    "destination.port": lambda _key, value: {"destination_port": int(value)},
    "connection.sni": lambda _key, value: {"requested_server_name": _text(value)},
    "source.ip": lambda _key, value: {"direct_remote_ip": _range(value)},
    "remote.ip": lambda _key, value: {"remote_ip": _range(value)},
    "source.principal": lambda _key, value: _peer(_text(value, "spiffe://")),
    "source.namespace": _namespace,
    "source.serviceAccount": _account,
    "source.trustDomain": _trust_domain,
    HEADERS: lambda key, value: _header(key.removeprefix(HEADERS)[1:-1], value),
}


# Claims of a JSON web token, and other filters' metadata


def _metadata(filter_name: str, path: Iterable[str], value: Matcher) -> Matcher:
    return {"filter": filter_name, "path": [{"key": key} for key in path], "value": value}


def _one_of(values: list[Matcher]) -> Matcher:
    return values[0] if len(values) == 1 else {"or_match": {"value_matchers": values}}


def _claims(key: str, name: str) -> list[str]:
    """The path to a claim: ``request.auth.claims[a][b]`` → a, b."""
    if name != CLAIMS:
        return ["aud" if name.endswith("audiences") else "azp"]
    inner = key.removeprefix(CLAIMS)
    nested = re.fullmatch(r"(\[[^\[\]]*\])+", inner)
    return re.findall(r"\[([^\[\]]*)\]", inner) if nested else [inner[1:-1]]


def _claim(path: list[str], values: tuple[str, ...]) -> Matcher:
    value = _one_of([{"string_match": _text(value)} for value in values])
    either = [{"list_match": {"one_of": value}}, value]
    return _metadata(_JWT, [_PAYLOAD, *path], {"or_match": {"value_matchers": either}})


def _subject(value: str) -> Matcher:
    """``issuer/subject`` of a token; the issuer may be a URL, so the last slash counts."""
    issuer, slash, subject = value.rpartition("/") if "/" in value else (value, "", "")
    if value == "*":
        matches = (_ANYTHING, _ANYTHING)
    elif value.startswith("*"):
        if slash:
            matches = (_ANYTHING if issuer == "*" else {"suffix": issuer[1:]}, {"exact": subject})
        else:
            matches = (_ANYTHING, {"suffix": value[1:]})
    elif value.endswith("*"):
        if slash:
            matches = ({"exact": issuer}, _ANYTHING if subject == "*" else {"prefix": subject[:-1]})
        else:
            matches = ({"prefix": value[:-1]}, _ANYTHING)
    else:
        matches = ({"exact": issuer}, {"exact": subject})
    parts = [
        {"metadata": _metadata(_JWT, [_PAYLOAD, claim], {"string_match": match})}
        for claim, match in zip(("iss", "sub"), matches, strict=True)
    ]
    return _set("and", "id", parts)


def _filter_metadata(key: str, values: tuple[str, ...]) -> Matcher:
    """``experimental.envoy.filters.a.b[c]``: field c of the metadata of filter envoy.filters.a.b; ``[v]`` is in a list."""
    filter_name, _, field = key.removeprefix("experimental.").removesuffix("]").partition("[")
    matches = [
        {"list_match": {"one_of": {"string_match": _text(value.strip("[]"))}}}
        if value.startswith("[") and value.endswith("]")
        else {"string_match": _text(value)}
        for value in values
    ]
    return _metadata(filter_name, [field], _one_of(matches))
