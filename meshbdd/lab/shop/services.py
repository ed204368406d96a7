"""The five services: what each answers to which request."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from meshbdd.lab.shop.habits import NOTIFICATION_SECONDS, PAYMENT_PAUSE, PAYMENT_TRIES, Habits
from meshbdd.lab.shop.http import Client, Handler, Request, Response
from meshbdd.lab.shop.orders import Orders

_PASSED_ON = (
    "traceparent", "tracestate", "baggage", "x-request-id",
    "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags",
)  # fmt: skip

Routes = Mapping[tuple[str, str], Callable[[Request], Awaitable[Response]]]


def router(routes: Routes) -> Handler:
    """A handler that picks by method and path; ``/healthz`` is there for probes."""
    paths = {path for _, path in routes}

    async def handle(request: Request) -> Response:
        if request.path == "/healthz":
            return Response.of(200, {"status": "ok"})
        found = routes.get((request.method, request.path))
        if found is not None:
            return await found(request)
        if request.path in paths:
            return Response.of(405, {"error": "method_not_allowed"})
        return Response.of(404, {"error": "not_found"})

    return handle


def context_of(request: Request, habits: Habits) -> dict[str, str]:
    """The headers that tie calls together; a trace begins here where the caller has none."""
    headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    if habits.has("drops-trace-headers"):
        return {name: value for name, value in headers.items() if name == "x-request-id"}
    headers.setdefault("traceparent", f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01")
    return headers


class OrderService:
    """Takes orders: reserves stock, charges the customer, keeps the order, notifies.

    Args:
        orders: The database.
        client: Calls the other services.
        habits: What it takes care of.
        version: What ``GET /version`` answers.
    """

    def __init__(self, orders: Orders, client: Client, habits: Habits, version: str) -> None:
        self._orders = orders
        self._client = client
        self._habits = habits
        self._version = version

    def handler(self) -> Handler:
        """Its routes."""
        return router(
            {
                ("POST", "/checkout"): self.checkout,
                ("GET", "/orders/count"): self.count,
                ("GET", "/version"): self.version,
            }
        )

    async def count(self, _request: Request) -> Response:
        """How many orders were confirmed."""
        return Response.of(200, {"count": self._orders.count()})

    async def version(self, request: Request) -> Response:
        """Which version answers."""
        if self._habits.has("version-needs-payment"):
            context = context_of(request, self._habits)
            await self._call("http://payment-service/healthz", {}, context, self._habits.payment_seconds())
        return Response.of(200, {"version": self._version})

    async def checkout(self, request: Request) -> Response:
        """One order."""
        try:
            body = request.json()
            sku, quantity = str(body["sku"]), int(body["quantity"])
        except (ValueError, KeyError, TypeError):
            return Response.of(400, {"error": "bad_request"})
        context = context_of(request, self._habits)
        if not await self._reserve(sku, quantity, context):
            return Response.of(503, {"error": "inventory_unavailable"})
        early = self._orders.create(sku, quantity) if self._habits.has("order-before-payment") else None
        if not await self._charge(sku, quantity, context) and not self._habits.has("order-despite-payment"):
            status = 500 if self._habits.has("wrong-payment-status") else 503
            error = {} if self._habits.has("wrong-payment-error") else {"error": "payment_unavailable"}
            return Response.of(status, error)
        order_id = early or self._orders.create(sku, quantity)
        if not await self._notify(order_id, context) and self._habits.has("notification-required"):
            return Response.of(503, {"error": "notification_unavailable"})
        return Response.of(200, {"order_id": order_id, "status": "confirmed"})

    async def _call(self, url: str, content: dict[str, object], context: Mapping[str, str], seconds: float) -> bool:
        try:
            answer = await self._client.post(url, content, context, seconds)
        except (TimeoutError, OSError):
            return False
        return 200 <= answer.status < 300 or (
            self._habits.has("accepts-any-payment-answer") and url.endswith("/charge")
        )

    async def _reserve(self, sku: str, quantity: int, context: Mapping[str, str]) -> bool:
        content: dict[str, object] = {"sku": sku, "quantity": quantity}
        return await self._call("http://inventory-service/reserve", content, context, self._habits.inventory_seconds())

    async def _charge(self, sku: str, quantity: int, context: Mapping[str, str]) -> bool:
        if self._habits.has("never-charges"):
            return True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._habits.payment_seconds()
        for attempt in self._habits.payment_tries():
            if attempt:
                await asyncio.sleep(PAYMENT_PAUSE * min(attempt, PAYMENT_TRIES))
            left = deadline - loop.time()
            if left <= 0:
                return False
            if await self._call("http://payment-service/charge", {"sku": sku, "quantity": quantity}, context, left):
                return True
        return False

    async def _notify(self, order_id: str, context: Mapping[str, str]) -> bool:
        return await self._call(
            "http://notification-service/notify", {"order_id": order_id}, context, NOTIFICATION_SECONDS
        )


def _answering(path: str, content: dict[str, object]) -> Handler:
    async def answer(_request: Request) -> Response:
        return Response.of(200, content)

    return router({("POST", path): answer})


def handler_for(service: str) -> Handler:
    """The handler of a service by its name.

    Raises:
        KeyError: the shop has no such service.
    """
    habits = Habits.of(os.environ)
    if service == "order-service":
        database = Path(os.environ.get("SHOP_DATABASE", "orders.sqlite"))
        return OrderService(Orders(database), Client(), habits, os.environ.get("VERSION", "stable")).handler()
    return {
        "payment-service": _answering("/charge", {"status": "charged"}),
        "inventory-service": _answering("/reserve", {"status": "reserved"}),
        "notification-service": _answering("/notify", {"status": "sent"}),
    }[service]


SERVICES = ("order-service", "payment-service", "inventory-service", "notification-service")
