"""Who made a call whose address a header hides. Pure functions.

A proxy takes ``X-Forwarded-For`` at its word: it logs the last address in it as the one that a request came from, with
port 0 (Envoy's docs, http_conn_man/headers, ``use_remote_address``; Istio's sidecars are configured so). A request may bring
that header along, and a mirrored copy always does: the caller's proxy appends an address of its own to it
(source/common/http/async_client_impl.cc, ``send_xff``). The caller's own log knows such a call by its id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshbdd.telemetry.access_log import Entry


Owner = tuple[str, str]
"""A pod and its namespace."""


def with_callers(entries: Sequence[Entry], addresses: Mapping[Owner, str]) -> list[Entry]:
    """Entries of what came in, with the address of the pod that made each call, as far as the callers' logs tell it.

    Args:
        entries: The logs of both sides.
        addresses: Pod and its namespace → its IP address.
    """
    hidden = {key_of(entry) for entry in entries if _hides(entry)}
    if not hidden:
        return list(entries)
    made: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.outbound and entry.owner in addresses and key_of(entry) in hidden:
            made[key_of(entry)].append(entry)
    return [_seen(entry, made.get(key_of(entry), []), addresses) if _hides(entry) else entry for entry in entries]


def key_of(entry: Entry) -> tuple[str, str]:
    """What a call has in common in both logs, and not with other calls that were made for the same request."""
    return entry.request_id, entry.authority


def _hides(entry: Entry) -> bool:
    return bool(entry.forwarded and entry.request_id) and not entry.outbound and entry.downstream.endswith(":0")


def _seen(entry: Entry, made: Sequence[Entry], addresses: Mapping[Owner, str]) -> Entry:
    """One that came, as its caller's log knows it; the address is as it is where that is nobody, or may be one of several."""
    calls = [c for c in made if c.upstream.rpartition(":")[0] == addresses.get(entry.owner)] or made
    callers = {call.owner for call in calls}
    copied = bool(calls) and all(call.forwarded != entry.forwarded for call in calls)
    if len(callers) != 1:
        return replace(entry, copied=copied)
    return replace(entry, downstream=f"{addresses[callers.pop()]}:0", copied=copied)
