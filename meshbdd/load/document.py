"""A load as JSON; ``result.schema.json`` beside this file says what each field means."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meshbdd.load.expectation import Expectation
from meshbdd.load.holding import holding
from meshbdd.load.plan import Plan
from meshbdd.load.result import Result
from meshbdd.load.summary import QUANTILES, SLOT_MS, Summary, summarise

VERSION = 1
SCHEMA = Path(__file__).with_name("result.schema.json")


def to_document(result: Result, summary: Summary, workers: int, expectations: Sequence[Expectation]) -> dict[str, Any]:
    """The document of a load.

    Args:
        result: The load.
        summary: Its numbers.
        workers: How many processes sent.
        expectations: What it was expected to show.
    """
    wanting = expectations if summary.requests + summary.unsent + summary.missed else ()
    at_best = summarise(result, at_best=True) if wanting and (result.lapses or result.missed) else summary
    judged = [(one, one.judge(summary, at_best)) for one in wanting]
    return {
        "version": VERSION,
        "plan": _plan(result.plan, workers),
        "began": round(result.began, 6),
        "seconds": round(summary.seconds, 6),
        "requests": summary.requests,
        "succeeded": summary.succeeded,
        "failed": summary.failed,
        "stopped": summary.stopped,
        "unsent": summary.unsent,
        "overdue": summary.overdue,
        "missed": summary.missed,
        "requests_per_second": round(summary.requests_per_second, 3),
        "bytes": summary.size,
        "outcomes": [
            {
                "told": outcome.told,
                "status": outcome.status,
                "error": outcome.error,
                "grpc_status": outcome.grpc,
                "flags": outcome.flags,
                "requests": count,
            }
            for outcome, count in sorted(summary.outcomes.items(), key=lambda item: -item[1])
        ],
        "latency_ms": latencies(summary),
        "lag_ms": _lag(summary) if result.plan.pace is not None else None,
        "rate": _held(result, summary),
        "histogram": {"unit": "us", "encoding": "HdrHistogram V2", "counts": summary.latency.encode().decode()},
        "series": {
            "slot_ms": SLOT_MS,
            "requests": [slot.requests for slot in summary.series],
            "failed": [slot.failed for slot in summary.series],
            "longest_ms": [slot.longest_ms for slot in summary.series],
        },
        "expectations": [{"text": one.text, "met": met, "seen": seen} for one, (met, seen) in judged],
    }


def latencies(summary: Summary) -> dict[str, float | None]:
    """Quantiles of the latency in milliseconds; ``None`` where that request had no answer."""
    if not summary.wanted:
        return {}
    ranks = {"min": 0.0, **{f"p{percent:g}": percent for percent in QUANTILES}, "max": 100.0}
    found = {name: summary.latency_ms(percent) for name, percent in ranks.items()}
    return {name: None if math.isinf(value) else value for name, value in found.items()}


def _lag(summary: Summary) -> dict[str, float]:
    """Quantiles of the lag in milliseconds; none where no request that was started has an outcome."""
    lag = summary.lag
    if not lag.get_total_count():
        return {}
    return {f"p{percent:g}": lag.get_value_at_percentile(percent) / 1000 for percent in QUANTILES} | {
        "max": lag.get_max_value() / 1000
    }


def _held(result: Result, summary: Summary) -> dict[str, Any] | None:
    seen = holding(result, summary)
    if seen is None:
        return None
    return {"wanted": round(seen.wanted, 3), "reached": round(seen.reached, 3), "held": seen.held, "told": seen.told}


def _plan(plan: Plan, workers: int) -> dict[str, Any]:
    pace = plan.pace
    return {
        "method": plan.message.method,
        "url": plan.message.url,
        "via": plan.vantage.name if plan.vantage else None,
        "users": plan.users if pace is None else None,
        "rate": pace.rate.per_second if pace else None,
        "ramp_seconds": pace.ramp.seconds if pace and pace.ramp else None,
        "poisson": pace.poisson if pace else None,
        "count": plan.count,
        "duration_seconds": plan.duration.seconds if plan.duration else None,
        "timeout_seconds": plan.timeout.seconds,
        "fresh_connections": plan.fresh,
        "workers": workers,
    }


def schema() -> dict[str, Any]:
    """The published JSON schema of the document."""
    read: dict[str, Any] = json.loads(SCHEMA.read_text("utf-8"))
    return read
