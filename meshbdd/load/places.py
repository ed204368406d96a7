"""Where the host of a request is: looked up once, before the load, so that a name server's mood is no part of it."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from meshbdd.errors import BadInput
from meshbdd.load.plan import Plan


def resolve(plan: Plan) -> list[str]:
    """The addresses of the host that libcurl connects to, as its option RESOLVE takes them; empty where none is needed.

    Raises:
        BadInput: nobody knows the host.
    """
    if plan.vantage is not None:
        parts = urlsplit(f"//{plan.vantage.address}")
        host, port = parts.hostname, parts.port
    else:
        host, port = plan.message.host, plan.message.port
    try:
        ipaddress.ip_address(host or "")
    except ValueError:
        return [f"{host}:{port}:{','.join(_addresses(str(host), port))}"]
    return []


def _addresses(host: str, port: int | None) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise BadInput(
            "MB0515",
            f"The host '{host}' is not known here: {getattr(error, 'strerror', None) or error}.",
            help="correct the host; a service of the mesh is entered with --via SERVICE",
        ) from None
    addresses = dict.fromkeys(str(place[4][0]) for place in found)
    return [f"[{address}]" if ":" in address else address for address in addresses]
