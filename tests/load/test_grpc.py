"""GRPC calls over HTTP/2 without TLS, against grpc's own server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from meshbdd.load import Load, Plan, Result, read_message


def _charge(request: bytes, context: Any) -> bytes:
    if request == b'{"amount": 13}':
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "no luck")
    return b'{"charged": true, "request": %s}' % (request or b"null")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    method = grpc.unary_unary_rpc_method_handler(_charge)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Payment", {"Charge": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0)


def call(address: str, body: str, **options: Any) -> Result:
    text = f"POST http://{address}/shop.Payment/Charge\ncontent-type: application/grpc\n\n{body}"
    options.setdefault("count", 1)
    with Load.start(Plan(read_message("charge", text), **options)) as load:
        return load.wait()


def test_a_call_is_answered(address: str) -> None:
    (sample,) = call(address, '{"amount": 1}').samples()
    assert sample.succeeded
    assert sample.status == 200
    assert (sample.headers or {})["grpc-status"] == "0"
    assert sample.body == b'{"charged": true, "request": {"amount": 1}}'
    assert sample.field("request.amount") == 1


def test_a_call_without_a_message(address: str) -> None:
    (sample,) = call(address, "").samples()
    assert sample.field("request") is None
    assert sample.succeeded


def test_a_grpc_status_is_a_failure_though_http_says_200(address: str) -> None:
    result = call(address, '{"amount": 13}', count=30, users=3, fields=("charged",), keep=0)
    samples = list(result.samples())
    assert len(samples) == 30
    assert not any(sample.succeeded for sample in samples)
    assert {(sample.headers or {})["grpc-status"] for sample in samples} == {"7"}
    assert {outcome.told for outcome in result.outcomes()} == {"200 with gRPC status 7"}


def test_many_calls_by_many_users(address: str) -> None:
    result = call(address, '{"amount": ${uuid}}'.replace("${uuid}", "5"), count=500, users=8)
    assert sum(sample.succeeded for sample in result.samples()) == 500
