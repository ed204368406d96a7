"""The order of routes: Linkerd takes the most specific match, Envoy the first one.

linkerd2-proxy linkerd/http/route: the best host first, then the longest matched path, then a method, then the number of
headers, then of query parameters, then whoever stands first. A regular expression always matches the whole path, so it
is as long as an exact path, and a prefix is that long where the path is the prefix itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from meshbdd.lab.compile.ir import Match
from meshbdd.lab.linkerd.model import RpcMatch

Target = TypeVar("Target")
Found = Match | RpcMatch


@dataclass(frozen=True, slots=True)
class Entry(Generic[Target]):
    """One match for one host, and what it leads to. ``whole``: of a prefix, only the path that is the prefix itself."""

    host: str | None
    match: Found
    target: Target
    whole: bool = False


def _host_rank(host: str | None) -> tuple[int, int]:
    if host is None:
        return 0, 0
    return (1, len(host)) if host.startswith("*.") else (2, len(host))


def prefix_of(match: Match) -> str | None:
    """The prefix that a match asks for, without its last slash; ``""`` is everything."""
    said = (match.uri or {"path_prefix": "/"}).get("path_prefix")
    return None if said is None else str(said).rstrip("/")


def _rank(entry: Entry[Target]) -> tuple[object, ...]:
    kind, length = _host_rank(entry.host)
    match = entry.match
    if isinstance(match, RpcMatch):
        return -kind, -length, 0, -len(match.service), -len(match.method), -len(match.headers)
    prefix = prefix_of(match)
    as_whole = prefix is None or entry.whole
    said = (-int(match.method is not None), -len(match.headers), -len(match.query))
    return -kind, -length, 0 if as_whole else 1, 0 if as_whole else -len(prefix or "/"), *said


def ordered(entries: Iterable[Entry[Target]]) -> list[Entry[Target]]:
    """The entries as Envoy needs them, the most specific first; entries of equal rank keep their order."""
    given = list(entries)
    compared = any(isinstance(e.match, Match) and prefix_of(e.match) is None for e in given)
    return sorted(_split(given) if compared else given, key=_rank)


def _split(entries: Iterable[Entry[Target]]) -> Iterator[Entry[Target]]:
    """Beside exact paths and regular expressions, a prefix counts twice: for itself, and for what is below it."""
    for entry in entries:
        if isinstance(entry.match, Match) and prefix_of(entry.match) is not None:
            yield Entry(entry.host, entry.match, entry.target, whole=True)
        yield entry
