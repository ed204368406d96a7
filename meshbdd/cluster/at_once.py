"""Several calls of the API at a time: most of what one takes is waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_POOL = ThreadPoolExecutor(max_workers=4, thread_name_prefix="api")
"""Few beside the 400 requests that an API server takes at a time by default (``--max-requests-inflight``)."""


def at_once(calls: Iterable[Callable[[], T]]) -> list[T]:
    """The outcomes of calls, in their order; each call asks anew, whatever moment it is made in.

    A call must not ask for ``at_once`` itself.

    Raises:
        Exception: whatever the first one that fails raises; those that have not begun are not made any more.
    """
    futures = [_POOL.submit(call) for call in calls]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:  # those that are done do not mind
            future.cancel()
