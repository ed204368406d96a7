"""Fields that Envoy has and its packaged message definitions do not yet: carried as protobuf carries unknown fields."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import duration_pb2

from meshbdd.lab.xds.messages import parse

_BUDGET_INTERVAL = 3
"""Its field number in envoy/config/cluster/v3/circuit_breaker.proto of Envoy 1.40 (``RetryBudget.budget_interval``)."""
_OF_LENGTH = 2
"""Protobuf's wire type of a message."""


def parse_cluster(config: Mapping[str, Any]) -> Any:
    """A cluster, with the interval of its retry budgets.

    Raises:
        MessageError: a field of the wrong form, or an unknown one.
    """
    breakers = config.get("circuit_breakers") or {}
    budgets = [threshold.get("retry_budget") or {} for threshold in breakers.get("thresholds") or []]
    if not any("budget_interval" in budget for budget in budgets):
        return parse(cluster_pb2.Cluster, config)
    known = {**config, "circuit_breakers": copy.deepcopy(dict(breakers))}
    for threshold in known["circuit_breakers"]["thresholds"]:
        threshold.get("retry_budget", {}).pop("budget_interval", None)
    message = parse(cluster_pb2.Cluster, known)
    for made, budget in zip(message.circuit_breakers.thresholds, budgets, strict=True):
        if "budget_interval" in budget:
            interval = duration_pb2.Duration()
            interval.FromJsonString(budget["budget_interval"])
            body = interval.SerializeToString()
            made.retry_budget.MergeFromString(bytes([_BUDGET_INTERVAL << 3 | _OF_LENGTH, len(body)]) + body)
    return message
