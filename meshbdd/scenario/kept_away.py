"""The calls to a service that never came to it, by the logs of their callers. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from meshbdd.claims.calls import CONNECT_FAILURE
from meshbdd.intents import ServiceRef
from meshbdd.response_flags import in_words
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.shared_pods import asks_for


def kept_away(
    service: ServiceRef, entries: Iterable[Entry], addresses: Collection[str]
) -> tuple[Counter[str], Counter[str]]:
    """How the calls to a service ended that were made to it.

    Args:
        service: The service.
        entries: What the callers' proxies logged.
        addresses: Of the service's pods.

    Returns:
        What became of those that did not come to these pods → how many; of those that came, address of the pod → how many.
    """
    ended, came = Counter[str](), Counter[str]()
    for entry in entries:
        if not entry.outbound or not (entry.service == service.host or asks_for(entry, service.host)):
            continue
        address = entry.upstream.rpartition(":")[0]
        if not address or CONNECT_FAILURE in entry.flags:
            how = in_words(entry.flags) if entry.flags else f"status {entry.status}"
            ended[f"ended at their callers' proxies with {how}"] += 1
        elif address in addresses:
            came[address] += 1
        else:
            ended["were led to other pods"] += 1
    return ended, came
