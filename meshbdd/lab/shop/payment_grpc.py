"""payment-service over gRPC (h2c): ``shop.Payment/Charge``, one unary method whose messages are JSON bytes.

Messages need no generated code that way; what a mesh test looks at is the status.
"""

from __future__ import annotations

import json
from typing import Any

SERVICE = "shop.Payment"


async def serve(host: str, port: int) -> Any:
    """Serve gRPC at ``host:port``; the import is late, because HTTP must not wait for it."""
    import grpc  # noqa: PLC0415 - see above

    async def charge(request: bytes, context: Any) -> bytes:
        try:
            json.loads(request or b"{}")
        except ValueError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is no JSON")
        return json.dumps({"status": "charged"}).encode()

    method = grpc.unary_unary_rpc_method_handler(charge)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Charge": method}),))
    server.add_insecure_port(f"{host}:{port}")
    await server.start()
    return server
