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
        self._last: dict[str, str] = {}
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
            value = now.get(series)
            if value != last and (value is None or float(value) < float(last)):
                self._ended[series] = self._ended.get(series, 0.0) + float(last)  # 0 too: a bucket that is still empty
        self._last = now
        if not self._ended:
            return page
        told: dict[str, list[str]] = {family: [line] for family, line in self._types.items()}
        for series, value in now.items():
            whole = _number(float(value) + self._ended[series]) if series in self._ended else value
            told[self._family[series]].append(f"{series} {whole}")
        for series, ended in self._ended.items():
            if series not in now:
                told[self._family[series]].append(f"{series} {_number(ended)}")
        return "\n".join([*others, *(line for lines in told.values() for line in lines)]) + "\n"

    def _see_process(self, page: str) -> None:
        uptime = float(found[1]) if (found := _UPTIME.search(page)) else 0.0
        if uptime < self._uptime:
            self._last, self._ended = {}, {}
        self._uptime = uptime

    def _read(self, page: str) -> tuple[list[str], dict[str, str]]:
        """The lines that are none of ours, and the values of ours as they are written."""
        others, now, family = [], {}, ""
        for line in page.rstrip("\n").split("\n"):  # a label may hold what else ends a line
            if line.startswith("#") and (found := _TYPE.match(line)):
                family = found[1]
                self._types[family] = line
            elif line.startswith(_OURS) and family:
                series, _, value = line.rpartition(" ")
                now[series] = value
                self._family[series] = family
            else:
                others.append(line)
        return others, now


def _number(value: float) -> str:
    return str(int(value) if value.is_integer() else value)
