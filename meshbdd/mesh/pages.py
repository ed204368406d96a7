"""What a proxy's pages of ``config_dump`` tell as a whole: whether they differ, and since when they are as they are."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from meshbdd.mesh.base import Dump

DRAINING = "/stats?format=json&filter=_draining"

_GROWS = {
    "last_updated", "version_info", "client_status", "draining_state", "warming_state", "error_state", "meshbdd",
}  # fmt: skip
"""What in a page differs although the configuration is the same; ``meshbdd`` holds epochs."""


def fingerprint(dumps: Sequence[Dump]) -> str:
    """Of a proxy's pages, without what grows by itself; Envoy lists what it holds in no order."""
    return hashlib.sha256(json.dumps([plain(dump) for dump in dumps], sort_keys=True).encode()).hexdigest()


def plain(node: Any) -> Any:
    """A page without what grows by itself, its objects in one order."""
    if isinstance(node, Mapping):
        kept = {key: plain(value) for key, value in node.items() if key not in _GROWS}
        if isinstance(kept.get("configs"), list):
            # Nothing goes yet, or any more, by what warms or drains alone.
            held = [config for config in kept["configs"] if config.keys() != {"name"}]
            kept["configs"] = sorted(held, key=lambda config: json.dumps(config, sort_keys=True))
        return {key: value for key, value in kept.items() if value != {}}
    return [plain(item) for item in node] if isinstance(node, list) else node


def draining(page: Dump) -> int:
    """How many listeners and filter chains a proxy drains: what was open when they were replaced still goes by their rules.

    Args:
        page: ``DRAINING``.
    """
    stats = page.get("stats") or []
    return sum(int(stat["value"]) for stat in stats if str(stat.get("name")).startswith("listener_manager.total_"))


def newest(dumps: Sequence[Dump]) -> float:
    """Unix time, by the proxy's own clock, of the last update in these pages; 0 where they tell none."""
    return max((_updated(dump) for dump in dumps), default=0.0)


def _updated(node: Any) -> float:
    if isinstance(node, Mapping):
        own = _unix(node["last_updated"]) if "last_updated" in node else 0.0
        return max([own, *(_updated(node[key]) for key in ("configs", "active_state") if key in node)])
    return max((_updated(item) for item in node), default=0.0) if isinstance(node, list) else 0.0


def _unix(text: object) -> float:
    try:
        return dt.datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0
