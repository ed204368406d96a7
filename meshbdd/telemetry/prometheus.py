"""Asking Prometheus, and telling what is wrong with a query that finds nothing."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import requests

from meshbdd.cluster import Cluster
from meshbdd.cluster.failures import ApiFailure
from meshbdd.errors import BadInput, EnvironmentBroken, Inconclusive, MeshbddError

_SECONDS = 10.0
IN_CLUSTER = "/api/v1/namespaces/istio-system/services/prometheus:9090/proxy"
"""Where Istio's own addon puts it (samples/addons/prometheus.yaml), through the API server's proxy."""

_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)?\s*\{([^{}]*)\}")
_MATCHER = re.compile(
    r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`)\s*(?:,|$)'
)

OF_COUNTERS = ("_total", "_count", "_sum", "_bucket")
"""https://prometheus.io/docs/practices/naming/ and https://prometheus.io/docs/concepts/metric_types/"""

Matcher = tuple[str, str, str]
"""Label, operator and value of a selector's matcher."""

Ask = Callable[[str, Mapping[str, str]], Any]
"""A path of Prometheus' HTTP API and its parameters → the answer's JSON."""


@dataclass(frozen=True, slots=True)
class Row:
    """One element of an instant query's answer."""

    labels: Mapping[str, str]
    value: float


def over_http(url: str) -> Ask:
    """Ask a Prometheus at a URL."""

    def ask(path: str, parameters: Mapping[str, str]) -> Any:
        try:
            answer = requests.get(f"{url}{path}", params=dict(parameters), timeout=_SECONDS)
            return answer.json()
        except (requests.RequestException, ValueError) as error:
            raise EnvironmentBroken(
                "MB0643", f"Prometheus at {url} does not answer: {error}.", help="check the setting `prometheus`"
            ) from None

    return ask


def through_api(cluster: Cluster) -> Ask:
    """Ask the Prometheus of Istio's addons inside a cluster."""

    def ask(path: str, parameters: Mapping[str, str]) -> Any:
        try:
            return json.loads(cluster.request("GET", IN_CLUSTER + path, query=dict(parameters)))
        except (MeshbddError, ValueError) as error:
            told = error.told if isinstance(error, ApiFailure) else None
            if isinstance(told, dict) and told.get("status") == "error":  # Prometheus' own words, as an HTTP error
                return told
            raise Inconclusive(
                "MB0644",
                f"There is no Prometheus to ask ({error}).",
                help="install Istio's Prometheus addon, or set `prometheus` to its URL",
            ) from None

    return ask


def _not_taken(promql: str, answer: Mapping[str, Any]) -> BadInput:
    sentence = f"Prometheus does not take the query {promql!r}: {answer.get('error')}."
    return BadInput("MB0645", sentence, help="mend the query")


class Prometheus:
    """A Prometheus.

    Args:
        ask: How to ask it.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def query(self, promql: str) -> list[Row]:
        """An instant query.

        Raises:
            BadInput: the query is no PromQL, or its answer is no vector.
        """
        answer = self._ask("/api/v1/query", {"query": promql})
        if answer.get("status") != "success":
            raise _not_taken(promql, answer)
        data = answer["data"]
        if data["resultType"] == "scalar":
            return [Row({}, float(data["result"][1]))]
        if data["resultType"] != "vector":
            raise BadInput(
                "MB0646",
                f"The query {promql!r} gives a {data['resultType']}, which is no number.",
                help="wrap it, for example in sum(increase(…[1m]))",
            )
        return [Row(item.get("metric") or {}, float(item["value"][1])) for item in data["result"]]

    def see_taken(self, promql: str) -> None:
        """See that a query is one, by Prometheus' own grammar; one that cannot tell is believed to take it.

        Raises:
            BadInput: it is none.
        """
        answer = self._ask("/api/v1/format_query", {"query": promql})
        if isinstance(answer, dict) and answer.get("errorType") == "bad_data":
            raise _not_taken(promql, answer)

    def now(self) -> float:
        """Its own Unix time."""
        return self.query("time()")[0].value

    def number(self, promql: str) -> float:
        """The one number that a query gives, 0 for nothing: for queries that count."""
        rows = self.query(promql)
        return rows[0].value if rows else 0.0

    def is_counter(self, metric: str) -> bool:
        """Whether a metric only grows: by the type that its target declares, else by its name's ending."""
        declared = self._ask("/api/v1/metadata", {"metric": metric}).get("data") or {}
        types = {str(item.get("type")) for item in declared.get(metric) or []} - {"unknown"}
        return "counter" in types or (not types and metric.endswith(OF_COUNTERS))

    def last_scrapes(self, ports: Collection[int]) -> dict[str, float]:
        """Address of each target (host of its ``instance``) → Unix time of its last scrape; 0 where that failed.

        Prometheus drops the series of a target with each scrape that fails. Of an address with several targets those at the
        proxy's ports count, or all where it has none there; of these the last scrape that succeeded.

        Args:
            ports: Those of the proxies' metrics.
        """
        own: dict[str, float] = {}
        others: dict[str, float] = {}
        for row in self.query("timestamp(up) * up"):
            address, _, port = row.labels.get("instance", "").rpartition(":")
            found = own if port.isdigit() and int(port) in ports else others
            found[address] = max(row.value, found.get(address, 0.0))
        return {**others, **own}

    def why_empty(self, promql: str) -> str:
        """Which part of a query matches nothing, and what is there instead."""
        for metric, matchers in selectors(promql):
            if metric and not self.query(f"count({metric})"):
                known = self._values("__name__", None)  # of all that it ever scraped
                if metric in known:
                    return f"there was the metric {metric}, but no target has it now"
                near = difflib.get_close_matches(metric, known, 1, 0.5)
                return f"there is no metric {metric}" + (f"; the nearest is {near[0]}" if near else "")
            for label, operator, value in matchers:
                if metric and not self.query(f"count({metric}{{{label}{operator}{json.dumps(value)}}})"):
                    return self._label_that_misses(metric, label, operator, value)
            if metric and len(matchers) > 1:
                inside = ",".join(f"{lb}{op}{json.dumps(v)}" for lb, op, v in matchers)
                if not self.query(f"count({metric}{{{inside}}})"):
                    return f"each label of {metric} matches something, but no series has them all"
        return "no series has changed, or an operator found no pair"

    def _label_that_misses(self, metric: str, label: str, operator: str, value: str) -> str:
        there = self._values(label, metric)
        if not there:
            labels = sorted({name for row in self.query(metric) for name in row.labels} - {"__name__"})
            near = difflib.get_close_matches(label, labels, 1, 0.5)
            return f"{metric} has no label {label}" + (f"; did you mean {near[0]}?" if near else "")
        near = [v for v in there if value in v] or difflib.get_close_matches(value, there, 1, 0.3) or there[:1]
        return (
            f'the label {label}{operator}"{value}" matches nothing; the nearest series there is has {label}="{near[0]}"'
        )

    def _values(self, label: str, metric: str | None) -> list[str]:
        parameters = {"match[]": metric} if metric else {}
        return list(map(str, self._ask(f"/api/v1/label/{label}/values", parameters).get("data") or []))


def ended_of(rows: Iterable[Row], there: AbstractSet[str], scraped: Iterable[str]) -> float:
    """How many series ended of pods that a scenario began with.

    Of a pod that was gone before, Prometheus may forget the series only later; they did not grow any more.

    Args:
        rows: How many series ended that were there when the scenario began, by ``instance``.
        there: The addresses of the pods that it began with.
        scraped: The addresses that Prometheus knows its targets by; where it knows no pod's, every series counts.
    """
    by_address = not there.isdisjoint(scraped)
    return sum(
        row.value for row in rows if not by_address or row.labels.get("instance", "").rpartition(":")[0] in {"", *there}
    )


def selectors(promql: str) -> list[tuple[str, list[Matcher]]]:
    """The selectors in a query: metric, and label, operator, value of each matcher."""
    found: list[tuple[str, list[Matcher]]] = []
    for metric, inside in _SELECTOR.findall(promql):
        found.append((metric, [(lb, op, _unquoted(v)) for lb, op, v in _MATCHER.findall(inside)]))
    if not found and re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", promql.strip()):
        found.append((promql.strip(), []))
    return found


def _unquoted(text: str) -> str:
    return text[1:-1] if text.startswith("`") else re.sub(r"\\(.)", r"\1", text[1:-1])
