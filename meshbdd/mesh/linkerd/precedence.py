"""Which of two matches of Linkerd's routes takes a call that both match.

The longest matched path first, then a method, then the number of headers, then of query parameters, and of equals the rule
of the older route. An exact path and a prefix are equally long for the path that is the prefix itself, and a regular
expression always matches the whole path; a host name comes before all of that. Of gRPC the longest service counts, then the
longest method, then the number of headers. linkerd2-proxy linkerd/http/route; linkerd2
policy-controller/grpc/src/outbound.rs, ``timestamp_then_name``. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]

_EXACT, _PREFIX, _EXPRESSION = "Exact", "PathPrefix", "RegularExpression"
_WINS, _TIES, _LOSES = 1, 0, -1

Field = tuple[str, str, str]
"""Name, type and value of what is asked of a header or a query parameter."""


@dataclass(frozen=True, slots=True)
class Match:
    """What one match asks of a call, with the defaults that the API server would write.

    Attributes:
        host: A host name, perhaps ``*.…``; ``None`` is any.
        path: Type and value.
        method: Of HTTP; ``None`` is any.
        rpc: Type, service and method of gRPC; empty is any.
        headers: What it asks of them.
        query: What it asks of query parameters.
    """

    host: str | None
    path: tuple[str, str]
    method: str | None
    rpc: tuple[str, str, str]
    headers: frozenset[Field]
    query: frozenset[Field]

    @property
    def expressed(self) -> bool:
        """Whether a regular expression decides, of which nobody but the proxy can tell what it matches."""
        fields = (*self.headers, *self.query)
        return _EXPRESSION in {self.path[0], self.rpc[0], *(kind for _, kind, _ in fields)}


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A match, and what it became when it was narrowed to some of its calls.

    Attributes:
        whole: The match.
        part: The narrowed one: it may ask for a path of which the other takes more, for a method, and for more headers.
    """

    whole: Match
    part: Match


def match_of(said: Object, host: str | None = None, *, grpc: bool) -> Match:
    """A match of a rule for a host name of its route.

    Args:
        said: It, as it stands in the rule.
        host: The host name; ``None`` is any.
        grpc: Whether the route is a GRPCRoute.
    """
    path = {} if grpc else said.get("path") or {}
    rpc = (said.get("method") or {}) if grpc else {}
    return Match(
        host.lower() if host else None,
        (str(path.get("type", _PREFIX)), str(path.get("value", "/"))),
        None if grpc else said.get("method"),
        (str(rpc.get("type", _EXACT)), str(rpc.get("service") or ""), str(rpc.get("method") or "")),
        frozenset(_fields(said.get("headers"), lower=True)),
        frozenset(_fields(said.get("queryParams"), lower=False)),
    )


def matches_of(route: Object, rule: Object) -> Iterator[Match]:
    """The matches of a rule of a route, each for every host name of the route."""
    for host in route["spec"].get("hostnames") or [None]:
        for said in rule.get("matches") or [{}]:
            yield match_of(said, host, grpc=route["kind"] == "GRPCRoute")


def takes(one: Match, other: Match, *, older: bool) -> bool:
    """Whether a match takes calls that another would get without it; ``True`` where expressions leave it open.

    Args:
        one: The match.
        other: The other, in another route.
        older: Whether the route of the first is the older one.
    """
    found = _outcomes(one, other)
    return _WINS in found or (older and _TIES in found)


def buried(one: Match, older: Match) -> bool:
    """Whether a match of an older route takes every call that a match is for."""
    return covers(older, one) and _WINS not in _outcomes(one, older)


def turned(one: Narrowed, other: Narrowed, *, older: bool) -> bool:
    """Whether the first match takes calls that the other's narrowed form would take from its own.

    Args:
        one: The first.
        other: The other, narrowed to the same.
        older: Whether the first stands before the other.
    """
    if _hosts(one.whole.host, other.whole.host) != _TIES:
        return False
    age = _WINS if older else _LOSES
    one_place = (one.part.path, one.part.rpc) == (other.part.path, other.part.rpc)
    was, now = _rest(one.whole, other.whole), _rest(one.part, other.part)
    return any(
        (way or was or age) == _WINS and ((_TIES if one_place else way) or now or age) == _LOSES
        for way in _ways(one.whole, other.whole)
    )


def hidden(one: Narrowed, other: Narrowed, *, older: bool) -> bool:
    """Whether the other match takes every call that the first one's narrowed form is for.

    Args:
        one: The first.
        other: The other, narrowed to the same.
        older: Whether the other stands before the first.
    """
    wins = {_WINS, _TIES} if older else {_WINS}
    return covers(other.part, one.part) and _outcomes(other.whole, one.whole) <= wins


def _fields(entries: Iterable[Object] | None, *, lower: bool) -> Iterator[Field]:
    for entry in entries or ():
        name = str(entry.get("name"))
        yield name.lower() if lower else name, str(entry.get("type", _EXACT)), str(entry.get("value"))


def _outcomes(one: Match, other: Match) -> frozenset[int]:
    """How the first does among the calls that both match: wins, ties, loses; nothing where there is no such call."""
    rest = _rest(one, other)
    return frozenset(way or rest for way in _ways(one, other))


def _ways(one: Match, other: Match) -> frozenset[int]:
    """The same by hosts and paths alone."""
    host = _hosts(one.host, other.host)
    apart = one.method and other.method and one.method != other.method
    if host is None or apart or not _agree(one.headers, other.headers) or not _agree(one.query, other.query):
        return frozenset()
    paths, rpcs = _paths(one.path, other.path), _rpcs(one.rpc, other.rpc)
    return frozenset(host or path or rpc for path in paths for rpc in rpcs)


def _rest(one: Match, other: Match) -> int:
    """How the first does by all that counts after the path."""
    return _sign(_asked(one), _asked(other))


def _asked(match: Match) -> tuple[bool, int, int]:
    return match.method is not None, len(match.headers), len(match.query)


def _sign(one: Any, other: Any) -> int:
    return int(one > other) - int(one < other)


def _agree(one: Iterable[Field], other: Iterable[Field]) -> bool:
    """Whether some call has all of these fields; of an expression it may."""
    values = {name: value for name, kind, value in one if kind == _EXACT}
    return all(values.get(name, value) == value for name, kind, value in other if kind == _EXACT)


def _hosts(one: str | None, other: str | None) -> int | None:
    if one == other:
        return _TIES
    if _within(one, other):
        return _WINS
    return _LOSES if _within(other, one) else None


def _within(host: str | None, wider: str | None) -> bool:
    if host is None or wider is None:
        return wider is None
    return host == wider or (wider.startswith("*.") and host.endswith(wider[1:]))


def _under(path: str, trunk: str) -> bool:
    """Whether a prefix without its last slash matches a path."""
    return path == trunk or path.startswith(f"{trunk}/")


def _paths(one: tuple[str, str], other: tuple[str, str]) -> frozenset[int]:
    (kind, value), (its_kind, its_value) = one, other
    if kind == _PREFIX and its_kind != _PREFIX:
        return frozenset(-way for way in _paths(other, one))
    if its_kind != _PREFIX:
        return frozenset({_TIES} if one == other or _EXPRESSION in {kind, its_kind} else ())
    if kind == _EXPRESSION:
        return frozenset({_WINS, _TIES})
    trunk, own = its_value.rstrip("/"), value.rstrip("/")
    if kind == _EXACT:
        tie = value == (trunk or "/")
        return frozenset({_TIES if tie else _WINS} if _under(value, trunk) else ())
    meet = _under(own, trunk) or _under(trunk, own)
    return frozenset({_sign(len(own), len(trunk))} if meet else ())


def _rpcs(one: tuple[str, str, str], other: tuple[str, str, str]) -> frozenset[int]:
    if one != other and _EXPRESSION in {one[0], other[0]}:
        return frozenset({_WINS, _TIES, _LOSES})
    if any(mine and its and mine != its for mine, its in zip(one[1:], other[1:], strict=True)):
        return frozenset()
    return frozenset({_sign([len(part) for part in one[1:]], [len(part) for part in other[1:]])})


def covers(one: Match, other: Match) -> bool:
    """Whether the first matches every call that the second does, for certain."""
    return (
        _within(other.host, one.host)
        and one.method in {None, other.method}
        and one.headers <= other.headers
        and one.query <= other.query
        and _path_covers(one.path, other.path)
        and _rpc_covers(one.rpc, other.rpc)
    )


def _path_covers(one: tuple[str, str], other: tuple[str, str]) -> bool:
    if one == other or one[0] != _PREFIX:
        return one == other
    trunk = one[1].rstrip("/")
    return not trunk or (other[0] != _EXPRESSION and _under(other[1].rstrip("/") or "/", trunk))


def _rpc_covers(one: tuple[str, str, str], other: tuple[str, str, str]) -> bool:
    if one == other or _EXPRESSION in {one[0], other[0]}:
        return one == other or not any(one[1:])
    return all(mine in {"", its} for mine, its in zip(one[1:], other[1:], strict=True))
