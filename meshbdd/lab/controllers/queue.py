"""The one way in which a controller works: keys of what changed, each reconciled once, however often it changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from meshbdd.lab.api.errors import ApiError

_log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace and name."""

_RETRY_SECONDS = 0.05


def key_of(obj: dict[str, Any]) -> Key:
    """Namespace and name of an object."""
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


class WorkQueue:
    """Reconciles keys in the event loop, soon and one at a time.

    Args:
        reconcile: Brings the world for one key to what the API says; called again when it met a conflict.
    """

    def __init__(self, reconcile: Callable[[Key], None]) -> None:
        self._reconcile = reconcile
        self._keys: dict[Key, None] = {}
        self._scheduled = False

    def add(self, key: Key) -> None:
        """Reconcile ``key`` soon."""
        self._keys[key] = None
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._drain)

    def add_all(self, keys: Iterable[Key]) -> None:
        """Reconcile each of ``keys`` soon."""
        for key in keys:
            self.add(key)

    def _drain(self) -> None:
        self._scheduled = False
        keys, self._keys = list(self._keys), {}
        for key in keys:
            try:
                self._reconcile(key)
            except ApiError as error:
                # Somebody else wrote first (409), or took the object or its namespace away (404): look again.
                if error.code not in {404, 409}:
                    _log.warning("%s/%s: %s", *key, error)
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, self.add, key)
