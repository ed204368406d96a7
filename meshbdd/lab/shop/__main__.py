"""``python -m meshbdd.lab.shop SERVICE``: one service of the demo shop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from meshbdd.lab.shop import http, payment_grpc
from meshbdd.lab.shop.services import SERVICES, handler_for


async def _main(service: str) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8080"))
    server = await http.serve(handler_for(service), host, port)
    grpc_port = os.environ.get("GRPC_PORT")
    extra = await payment_grpc.serve(host, int(grpc_port)) if service == "payment-service" and grpc_port else None
    await stopping.wait()
    server.close()
    if extra is not None:
        await extra.stop(grace=0.2)


def main() -> None:
    """Serve until SIGTERM."""
    if len(sys.argv) != 2 or sys.argv[1] not in SERVICES:
        sys.exit(f"usage: python -m meshbdd.lab.shop {{{'|'.join(SERVICES)}}}")
    try:
        asyncio.run(_main(sys.argv[1]))
    except OSError as error:
        sys.exit(f"{sys.argv[1]} cannot listen: {error}")


if __name__ == "__main__":
    main()
