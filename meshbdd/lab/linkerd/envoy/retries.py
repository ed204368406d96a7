"""Retries and timeouts of a rule as an Envoy route action.

What Envoy's router cannot tell apart by itself – gRPC statuses in trailers, answers that count for failure accrual but
not for retries – is written into the status by an upstream script and taken out again before the caller sees it
(``scripts``).
"""

from __future__ import annotations

from typing import Any

from meshbdd.lab.linkerd.envoy import scripts
from meshbdd.lab.linkerd.model import RETRY_PAUSES, Accrual, Retries, Rule, Timeouts
from meshbdd.lab.linkerd.show.common import duration

Json = dict[str, Any]


def action(rule: Rule, cluster: str) -> Json:
    """The action of a route that forwards."""
    made: Json = {"cluster": cluster, "timeout": "0s"}
    timeouts = rule.timeouts
    if timeouts is not None:
        # A response timeout is for one try and is itself not retried: as long as there is one try it is the same.
        said = [value for value in (timeouts.request, timeouts.response) if value is not None]
        if said:
            made["timeout"] = duration(min(said))
    if rule.retries is not None:
        policy = retry_policy(rule.retries)
        if policy is not None:
            made["retry_policy"] = policy
            if rule.retries.timeout is not None and not _is_cut(rule.retries, timeouts):
                # The timeout of a try starts the next one. Envoy's plain one would also cut the last try; hedging does
                # not, at the price that the first try may still win (see ``deviations``).
                made["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    return made


def _is_cut(retries: Retries, timeouts: Timeouts | None) -> bool:
    """Whether the request's own timeout cuts every last try earlier than a timeout of that try would.

    Envoy retries a try that it has cut if resets are retried at all, which are 502 for Linkerd.
    """
    if timeouts is None or timeouts.request is None or retries.timeout is None:
        return False
    last = retries.limit * (retries.timeout + RETRY_PAUSES[0]) + retries.timeout
    return last >= timeouts.request and any(low <= 502 <= high for low, high in retries.statuses)


def retry_policy(retries: Retries) -> Json | None:
    """The retry policy; ``None`` where nothing is ever tried again."""
    codes = sorted({code for low, high in retries.statuses for code in range(low, high + 1)})
    if retries.grpc:
        codes += scripts.RETRIED
    if not codes and retries.timeout is None:
        return None
    conditions = []
    if codes:
        conditions.append("retriable-status-codes")
    if 502 in codes:
        # Linkerd makes a refused or broken connection a 502 before it looks at the conditions.
        conditions += ["connect-failure", "reset"]
    least, most = RETRY_PAUSES
    made: Json = {
        "retry_on": ",".join(conditions) or "retriable-status-codes",
        "num_retries": retries.limit,
        # Envoy draws a pause from nothing to the interval, Linkerd from the interval to twice of it: of the same mean.
        "retry_back_off": {"base_interval": duration(3 * least), "max_interval": duration(3 * most / 2)},
    }
    if codes:
        made["retriable_status_codes"] = codes
    if retries.timeout is not None:
        made["per_try_timeout"] = duration(retries.timeout)
    return made


def statuses_filter(accrual: Accrual | None, retries: Retries | None) -> list[Json]:
    """The upstream script of a cluster, where statuses alone would mislead Envoy's router."""
    grpc = retries.grpc if retries is not None else ()
    counts = accrual is not None and accrual.breaks
    if not counts and not grpc:
        return []
    unified = accrual is not None and accrual.success_rate is not None
    return [scripts.upstream(counts=counts, too_many=unified, retried=grpc)]
