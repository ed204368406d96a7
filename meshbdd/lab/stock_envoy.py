"""The image ``envoyproxy/envoy`` on the lab: its own Envoy as an application, with the bootstrap that the container names.

Three things differ from a cluster, because pods share this machine's network and nothing intercepts connections:

- it listens at the pod's private address, where the lab's applications listen, in place of 0.0.0.0;
- clusters by DNS name are entered through the pod's way out, so requests to them bear that name as their authority;
- without a hot restart, which Envoys of one machine would take from each other.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import yaml

from meshbdd.lab.sidecar.binary import find_envoy

Json = dict[str, Any]
_BY_NAME = {"STRICT_DNS", "LOGICAL_DNS"}
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - what is replaced


def _sockets(node: Any) -> Iterator[Json]:
    """Every ``socket_address`` below a node."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "socket_address":
                yield value
            else:
                yield from _sockets(value)
    elif isinstance(node, list):
        for item in node:
            yield from _sockets(item)


def _routes(node: Any) -> Iterator[Json]:
    """Every route of a list ``routes`` below a node."""
    if isinstance(node, dict):
        yield from node.get("routes") or []
        for value in node.values():
            yield from _routes(value)
    elif isinstance(node, list):
        for item in node:
            yield from _routes(item)


def adapted(bootstrap: Json, home: str, way_out: tuple[str, int]) -> Json:
    """A bootstrap as it works on the lab, changed in place.

    Args:
        bootstrap: As the container names it.
        home: Where the pod's applications listen.
        way_out: Where the pod's connections leave.
    """
    static = bootstrap.get("static_resources") or {}
    for listener in static.get("listeners") or []:
        for socket in _sockets(listener.get("address")):
            if socket.get("address") in _EVERYWHERE:
                socket["address"] = home
    named: dict[str, str] = {}
    for cluster in static.get("clusters") or []:
        if cluster.get("type") not in _BY_NAME:
            continue
        cluster["type"] = "STATIC"
        for socket in _sockets(cluster.get("load_assignment")):
            named[cluster["name"]] = f"{socket['address']}:{socket['port_value']}"
            socket["address"], socket["port_value"] = way_out
    for route in _routes(static.get("listeners")):
        authority = named.get(str((route.get("route") or {}).get("cluster")))
        if authority is not None:
            route["route"]["host_rewrite_literal"] = authority
    return bootstrap


def arguments(argv: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Envoy's command line on the lab for the container's; a bootstrap that stands in it is adapted."""
    way_out = urlsplit(environment["HTTP_PROXY"])
    made = list(argv)
    for index, word in enumerate(made[:-1]):
        if word == "--config-yaml":
            bootstrap = yaml.safe_load(made[index + 1])
            place = (str(way_out.hostname), int(way_out.port or 80))
            made[index + 1] = json.dumps(adapted(bootstrap, environment["HOST"], place))
    return [*made, "--concurrency", "1", "--disable-hot-restart"]


def main() -> None:
    """Become Envoy."""
    envoy = str(find_envoy())
    os.execv(envoy, [envoy, *arguments(sys.argv[1:], os.environ)])  # noqa: S606 - the binary is the lab's own


if __name__ == "__main__":
    main()
