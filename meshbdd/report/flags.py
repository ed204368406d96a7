"""The table of what the sidecars logged, with the response flags in words."""

from __future__ import annotations

from collections.abc import Iterable

from meshbdd.evidence import Call
from meshbdd.response_flags import MEANINGS


def rows(calls: Iterable[Call]) -> list[list[str]]:
    """The table, its headings first."""
    table = [["caller", "service", "status", "flags", "meaning", "calls"]]
    for call in sorted(calls, key=lambda c: (c.caller, c.service, -c.count)):
        meanings = [MEANINGS.get(flag, "") for flag in call.flags]
        if call.injected and not {"FI", "DI"} & set(call.flags):
            meanings.append("a fault was injected at the service's side")
        table.append(
            [
                call.caller,
                call.service,
                str(call.status or "no answer"),
                ",".join(call.flags) or "-",
                "; ".join(meanings),
                str(call.count),
            ]
        )
    return table
