"""Sample HTTP exchanges: of each way in which requests ended, the first one, with secrets masked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from meshbdd.evidence import TrafficSent
from meshbdd.load.message import Message
from meshbdd.load.sample import Sample
from meshbdd.report import redact

MIME = "application/vnd.allure.http+json"
"""Allure shows it as a request and its response."""

_MOST_KINDS = 4
_LONGEST_BODY = 16 * 1024


def samples_of_each_kind(event: TrafficSent) -> Iterator[Sample]:
    """The first request of each outcome, those that failed before those that did not."""
    kinds: dict[str, Sample] = {}
    for sample in event.samples:
        known = kinds.get(sample.told)
        if known is None or (sample.kept and not known.kept):
            kinds[sample.told] = sample
    yield from sorted(kinds.values(), key=lambda sample: sample.succeeded)[:_MOST_KINDS]


def exchange(request: Message, sample: Sample) -> str:
    """One exchange in Allure's format."""
    told: dict[str, Any] = {
        "schemaVersion": 1,
        "start": round(sample.started * 1000),
        "stop": round((sample.started + sample.seconds) * 1000),
        "request": {
            "method": request.method,
            "url": redact.url(request.url),
            "headers": _headers({**request.headers, "x-request-id": sample.request_id}),
        },
    }
    if request.body:
        told["request"]["body"] = _body(request.body)
    if sample.status is not None:
        told["response"] = {
            "status": sample.status,
            "statusText": _phrase(sample.status),
            "headers": _headers(sample.headers or {}),
        }
        if sample.body:
            told["response"]["body"] = _body(sample.body)
    else:
        told["error"] = {
            "name": sample.told,
            "message": f"no answer: {sample.told} after {sample.seconds * 1000:.1f} ms",
        }
    return json.dumps(told, ensure_ascii=False)


def _headers(named: Any) -> list[dict[str, Any]]:
    return [
        {"name": name, "value": value, **({"masked": True} if redact.MASK in value else {})}
        for name, value in redact.headers(named).items()
    ]


def _body(content: bytes | str) -> dict[str, Any]:
    shown = redact.body(content)
    cut = len(shown) > _LONGEST_BODY
    kind = "application/json" if shown.lstrip()[:1] in {"{", "["} else "text/plain"
    return {
        "contentType": kind,
        "value": shown[:_LONGEST_BODY],
        "size": len(content),
        **({"truncated": True} if cut else {}),
    }


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
