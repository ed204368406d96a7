"""The demo shop's habits, and the defects that switch them off: real processes, the other services played by a stub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from meshbdd.lab.shop.habits import DEFECTS
from tests.tools import until

Answer = tuple[int, float]


class Others:
    """Every other service, reached as a proxy: counts calls, keeps headers, answers and waits as told."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[int], Answer]] = {}
        self.calls: dict[str, list[dict[str, str]]] = {}
        others = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                name = urlsplit(self.path).hostname or ""
                self.rfile.read(int(self.headers["content-length"]))
                calls = others.calls.setdefault(name, [])
                calls.append({k.lower(): v for k, v in self.headers.items()})
                status, wait = others.answers.get(name, lambda _n: (200, 0.0))(len(calls))
                time.sleep(wait)  # the stub is slow where a test asks for a slow service
                body = b"{}"
                try:
                    self.send_response(status)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass

            def log_message(self, *_arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


class Shop:
    def __init__(self, folder: Path, defect: str = "") -> None:
        self.others = Others()
        with __import__("socket").socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = {
            **os.environ, "HOST": "127.0.0.1", "PORT": str(self.port), "http_proxy": self.others.address, "no_proxy": "",
            "SHOP_DATABASE": str(folder / "orders.sqlite"), "SHOP_DEFECT": defect,
        }  # fmt: skip
        self.process = subprocess.Popen([sys.executable, "-m", "meshbdd.lab.shop", "order-service"], env=environment)
        until("the shop", self._answers)

    def _answers(self) -> bool:
        try:
            return requests.get(self.url("/healthz"), timeout=1).ok
        except requests.ConnectionError:
            return False

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def checkout(self, **headers: str) -> tuple[int, dict[str, Any], float]:
        began = time.monotonic()
        answer = requests.post(self.url("/checkout"), json={"sku": "A1", "quantity": 1}, headers=headers, timeout=20)
        return answer.status_code, answer.json(), time.monotonic() - began

    def count(self) -> int:
        return int(requests.get(self.url("/orders/count"), timeout=5).json()["count"])

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(timeout=5) == 0, "SIGTERM ends it in order"
        self.others.server.shutdown()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    made: list[Shop] = []

    def make(defect: str = "") -> Shop:
        made.append(Shop(tmp_path, defect))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def _fails_twice(number: int) -> Answer:
    return (503 if number <= 2 else 200), 0.0


CASES: dict[str, Callable[[Shop], bool]] = {}


def habit(defect: str) -> Callable[[Callable[[Shop], bool]], Callable[[Shop], bool]]:
    def keep(check: Callable[[Shop], bool]) -> Callable[[Shop], bool]:
        CASES[defect] = check
        return check

    return keep


@habit("no-payment-retries")
def retries_payment(shop: Shop) -> bool:
    shop.others.answers["payment-service"] = _fails_twice
    return shop.checkout()[0] == 200


@habit("no-payment-deadline")
def gives_up_on_a_hanging_payment(shop: Shop) -> bool:
    shop.others.answers["payment-service"] = lambda _n: (200, 4.0)
    status, body, seconds = shop.checkout()
    return (status, body.get("error")) == (503, "payment_unavailable") and 1.5 < seconds < 3


@habit("long-payment-deadline")
def gives_up_on_a_hanging_payment_in_time(shop: Shop) -> bool:
    shop.others.answers["payment-service"] = lambda _n: (200, 5.0)
    status, _, seconds = shop.checkout()
    return status == 503 and seconds < 3


@habit("endless-payment-retries")
def tries_payment_six_times(shop: Shop) -> bool:
    shop.others.answers["payment-service"] = lambda _n: (503, 0.0)
    return shop.checkout()[0] == 503 and len(shop.others.calls["payment-service"]) == 6


@habit("long-inventory-timeout")
def gives_up_on_a_hanging_inventory_in_time(shop: Shop) -> bool:
    shop.others.answers["inventory-service"] = lambda _n: (200, 5.0)
    status, _, seconds = shop.checkout()
    return status == 503 and seconds < 3


@habit("no-inventory-timeout")
def gives_up_on_a_hanging_inventory(shop: Shop) -> bool:
    shop.others.answers["inventory-service"] = lambda _n: (200, 4.0)
    status, body, seconds = shop.checkout()
    return (status, body.get("error")) == (503, "inventory_unavailable") and seconds < 3


def _no_order_without_payment(shop: Shop) -> bool:
    shop.others.answers["payment-service"] = lambda _n: (500, 0.0)
    shop.checkout()
    return shop.count() == 0


@habit("order-before-payment")
def orders_after_payment(shop: Shop) -> bool:
    return _no_order_without_payment(shop)


@habit("order-despite-payment")
def no_order_without_payment(shop: Shop) -> bool:
    return _no_order_without_payment(shop)


@habit("wrong-payment-status")
def answers_503(shop: Shop) -> bool:
    shop.others.answers["payment-service"] = lambda _n: (500, 0.0)
    return shop.checkout()[0] == 503


@habit("wrong-payment-error")
def names_the_error(shop: Shop) -> bool:
    shop.others.answers["payment-service"] = lambda _n: (500, 0.0)
    return shop.checkout()[1].get("error") == "payment_unavailable"


@habit("notification-required")
def does_without_notification(shop: Shop) -> bool:
    shop.others.answers["notification-service"] = lambda _n: (503, 0.0)
    return shop.checkout()[0] == 200


@habit("drops-trace-headers")
def passes_trace_headers_on(shop: Shop) -> bool:
    shop.checkout(traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01", baggage="meshbdd-run=1")
    headers = shop.others.calls["payment-service"][0]
    return headers.get("baggage") == "meshbdd-run=1" and "a" * 32 in headers.get("traceparent", "")


@habit("accepts-any-payment-answer")
def takes_no_error_for_payment(shop: Shop) -> bool:
    shop.others.answers["payment-service"] = lambda _n: (404, 0.0)
    return shop.checkout()[0] == 503


@habit("never-charges")
def charges_for_every_order(shop: Shop) -> bool:
    shop.checkout()
    return len(shop.others.calls.get("payment-service", [])) == 1


@habit("version-needs-payment")
def shows_its_version_without_payment(shop: Shop) -> bool:
    shop.others.answers["payment-service"] = lambda _n: (200, 1.0)
    began = time.monotonic()
    assert requests.get(shop.url("/version"), timeout=5).ok
    return time.monotonic() - began < 0.9


def test_every_defect_has_its_check() -> None:
    assert set(CASES) == set(DEFECTS)


@pytest.mark.parametrize("defect", CASES)
def test_the_healthy_shop_has_the_habit_and_the_defect_takes_it(shop: Callable[..., Shop], defect: str) -> None:
    assert CASES[defect](shop())
    broken = shop(defect)
    for name in broken.others.calls:
        broken.others.calls[name].clear()
    if defect in {"order-before-payment", "order-despite-payment"}:
        before = broken.count()
        broken.others.answers["payment-service"] = lambda _n: (500, 0.0)
        broken.checkout()
        assert broken.count() > before
    else:
        assert not CASES[defect](broken)


def test_plain_answers_and_bad_input(shop: Callable[..., Shop]) -> None:
    one = shop()
    status, body, _ = one.checkout()
    assert (status, body["status"]) == (200, "confirmed")
    assert one.count() == 1
    assert requests.get(one.url("/version"), timeout=5).json() == {"version": "stable"}
    assert requests.post(one.url("/checkout"), data="{", timeout=5).status_code == 400
    assert requests.get(one.url("/checkout"), timeout=5).status_code == 405
    assert requests.get(one.url("/nothing"), timeout=5).status_code == 404


def test_an_unknown_defect_ends_the_process_with_a_sentence() -> None:
    environment = {**os.environ, "SHOP_DEFECT": "no-such"}
    ran = subprocess.run(
        [sys.executable, "-m", "meshbdd.lab.shop", "order-service"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert ran.returncode == 1
    assert "SHOP_DEFECT is 'no-such'" in ran.stderr
    assert json.dumps("Traceback")[1:-1] not in ran.stderr
