"""Which matches of a VirtualService's routes ask nothing of a request itself.

Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPMatchRequest
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO_CONDITION = frozenset({"name", "statPrefix", "ignoreUriCase"})
"""What a match may say without asking anything."""

EVERY_PATH = ({"prefix": "/"}, {"regex": ".*"}, {"regex": "*"}, {"regex": "/.*"})
"""URI matches that every path meets."""

_OF_THE_CALLER = frozenset({"sourceLabels", "sourceNamespace", "gateways"})


def takes_every_request(match: Mapping[str, Any]) -> bool:
    """Whether a match takes all requests of the callers that it means: behind it there is nothing left of them."""
    return all(
        not asked or word in NO_CONDITION | _OF_THE_CALLER or (word == "uri" and asked in EVERY_PATH)
        for word, asked in match.items()
    )
