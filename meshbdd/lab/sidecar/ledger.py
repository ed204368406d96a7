"""Counters that outlive the listener under which they were counted.

A stock Envoy keeps the series of its stats access logger in the scope of the listener that has it, and when that listener has
drained it forgets those which nobody has counted under since: some time after a change of a listener, a counter would be
gone, or begin anew.
"""

from __future__ import annotations

import re

_TYPE = re.compile(r"# TYPE (envoy_(?:istio|l5d)_\w+) \w+$")
_OURS = ("envoy_istio_", "envoy_l5d_")
_UPTIME = re.compile(r"^envoy_server_uptime(?:\{\})? (\S+)$", re.MULTILINE)


class Ledger:
    """What one sidecar counted over its whole life; where its process is another one, everything begins anew."""

    def __init__(self) -> None:
        self._uptime = 0.0
        self._types: dict[str, str] = {}
        self._family: dict[str, str] = {}
        self._last: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        """What a series had come to when it was forgotten, all its lives together."""

    def kept(self, page: str) -> str:
        """Envoy's page of metrics, with what it has forgotten.

        Args:
            page: Prometheus text, as Envoy's ``/stats/prometheus`` gives it now.
        """
        self._see_process(page)
        others, now = self._read(page)
        for series, last in self._last.items():
            if now.get(series, -1.0) < last:  # one of nothing too: a bucket that is still empty
                self._ended[series] = self._ended.get(series, 0.0) + last
        self._last = now
        told: dict[str, list[str]] = {family: [line] for family, line in self._types.items()}
        for series in {**now, **self._ended}:
            value = now.get(series, 0.0) + self._ended.get(series, 0.0)
            told[self._family[series]].append(f"{series} {int(value) if value.is_integer() else value}")
        return "\n".join([*others, *(line for lines in told.values() for line in lines)]) + "\n"

    def _see_process(self, page: str) -> None:
        uptime = float(found[1]) if (found := _UPTIME.search(page)) else 0.0
        if uptime < self._uptime:
            self._last, self._ended = {}, {}
        self._uptime = uptime

    def _read(self, page: str) -> tuple[list[str], dict[str, float]]:
        """The lines that are none of ours, and the values of ours."""
        others, now, family = [], {}, ""
        for line in page.splitlines():
            if line.startswith("#") and (found := _TYPE.match(line)):
                family = found[1]
                self._types[family] = line
            elif line.startswith(_OURS) and family:
                series, _, value = line.rpartition(" ")
                now[series] = float(value)
                self._family[series] = family
            else:
                others.append(line)
        return others, now
