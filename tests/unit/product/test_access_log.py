"""Reading the sidecars' access logs."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from meshbdd.cluster import Cluster
from meshbdd.cluster.client import ApiFailure
from meshbdd.telemetry.access_log import AccessLogs, read_entries

_LINE = b'{"upstream_cluster": "outbound|80||payment-service.shop.svc.cluster.local", "response_code": 503, "response_flags": "FI", "request_id": "r1"}\n'


class _TwoPods:
    """An API with two pods, one of which is deleted between the list and the reading of its log."""

    def list(self, _kind: str, **_options: Any) -> list[dict[str, Any]]:
        return [
            {"metadata": {"name": name, "namespace": "shop", "uid": name}, "status": {"phase": "Running"}}
            for name in ("gone", "here")
        ]

    def log(self, name: str, _namespace: str, _container: str, *, tail: int | None = None) -> bytes:
        if name == "gone":
            raise ApiFailure(404, "NotFound", 'pods "gone" not found')
        return _LINE


def test_a_pod_that_is_deleted_meanwhile_is_passed_over() -> None:
    logs = AccessLogs(cast("Cluster", _TwoPods()))
    entries = logs.since_mark()
    assert [(e.pod, e.service, e.status, e.injected) for e in entries] == [
        ("here", "payment-service.shop.svc.cluster.local", 503, True)
    ]
    logs.mark()
    assert logs.since_mark() == []


def test_an_entry_tells_when_how_long_and_of_which_trace() -> None:
    line = (
        b'{"start_time": "2026-03-01T10:00:00.250Z", "duration": 40, "upstream_host": "10.0.0.3:8080", "path": "/charge", '
        b'"upstream_cluster": "inbound|8080||", "response_code": 200, "response_flags": "-", "traceparent": null}'
    )
    (entry,) = read_entries("payment-1", line)
    assert (entry.started, entry.seconds, entry.upstream, entry.path) == (
        1772359200.25,
        0.04,
        "10.0.0.3:8080",
        "/charge",
    )
    assert entry.traceparent == ""
    assert not entry.outbound
    (bare,) = read_entries("payment-1", _LINE)
    assert bare.traceparent is None, "Istio's default format does not tell"
    assert bare.started == 0.0


@pytest.mark.parametrize(
    ("cluster", "server_name", "backend"),
    [
        ("inbound|8080||", "outbound_.80_._.payment-service.shop.svc.cluster.local", "payment-service.shop.svc.cluster.local"),
        ("inbound|8080||", "outbound_.80_.v_1_.payment.shop.svc.cluster.local", "payment.shop.svc.cluster.local"),
        (None, "outbound_.80_._.payment.shop.svc.cluster.local", "payment.shop.svc.cluster.local"),  # denied, for instance
        ("inbound|8080||", None, ""),
        ("inbound|8080||", "payment.example.com", ""),  # of a DestinationRule's own
        ("inbound|8080||", "payment.shop.serviceaccount.identity.linkerd.cluster.local", ""),
        ("outbound|80|v1|order.shop.svc.cluster.local", "outbound_.80_._.payment.shop.svc.cluster.local", "order.shop.svc.cluster.local"),
    ],
)  # fmt: skip
def test_for_which_service_a_call_came_is_told_by_the_server_name_of_mutual_tls(
    cluster: str | None, server_name: str | None, backend: str
) -> None:
    line = json.dumps({"upstream_cluster": cluster, "response_code": 200, "requested_server_name": server_name})
    (entry,) = read_entries("payment-1", line.encode())
    assert entry.backend == backend


@pytest.mark.parametrize(
    ("cluster", "local", "outbound"),
    [
        (None, "10.9.9.9:80", True),  # a route's own answer to a call that was to leave
        (None, "[fd00::9]:80", True),
        ("PassthroughCluster", "93.184.215.14:80", True),
        (None, "127.1.0.2:8080", False),  # one that came, and met no route
        ("InboundPassthroughCluster", "[fd00::2]:8080", False),
        ("inbound|8080||", "10.9.9.9:80", False),
        (None, None, False),  # a log that does not tell
    ],
)
def test_what_a_proxy_answered_by_itself_was_to_leave_unless_it_came_to_the_pod(
    cluster: str | None, local: str | None, outbound: bool
) -> None:
    line = json.dumps({"upstream_cluster": cluster, "response_code": 418, "downstream_local_address": local}).encode()

    class OnePod:
        def list(self, _kind: str, **_options: Any) -> list[dict[str, Any]]:
            meta = {"name": "order-1", "namespace": "shop", "uid": "u"}
            status = {"phase": "Running", "podIP": "127.1.0.2", "podIPs": [{"ip": "127.1.0.2"}, {"ip": "fd00::2"}]}
            return [{"metadata": meta, "status": status}]

        def log(self, *_where: str, tail: int | None = None) -> bytes:
            return line + b"\n"

    (entry,) = AccessLogs(cast("Cluster", OnePod())).since_mark()
    assert (entry.outbound, entry.service) == (outbound, "")


class _Growing:
    """One pod whose log grows, is rotated, and is read by its last lines."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.asked: list[int | None] = []

    def list(self, _kind: str, **_options: Any) -> list[dict[str, Any]]:
        meta = {"name": "here", "namespace": "shop", "uid": "here"}
        return [{"metadata": meta, "status": {"phase": "Running"}}]

    def log(self, _name: str, _namespace: str, _container: str, *, tail: int | None = None) -> bytes:
        self.asked.append(tail)
        return b"".join(self.lines[-tail:] if tail else self.lines)

    def add(self, *numbers: int) -> None:
        self.lines += [b'{"request_id": "%d", "upstream_cluster": "outbound|80||a.b"}\n' % n for n in numbers]


def test_only_what_is_new_is_read_and_all_of_it_counts() -> None:
    cluster = _Growing()
    cluster.add(*range(2000))
    logs = AccessLogs(cast("Cluster", cluster))
    logs.mark()
    assert logs.since_mark() == []
    for batch in (range(2000, 2003), range(2003, 2003), range(2003, 8000)):
        cluster.add(*batch)
        cluster.lines.append(b'{"request_id": "half a li')
        assert [e.request_id for e in logs.since_mark()] == [str(n) for n in range(2000, batch.stop)]
        cluster.lines.pop()
    assert None not in cluster.asked, "the whole log was never asked for"


def test_a_rotated_log_loses_nothing_that_is_left_in_it() -> None:
    cluster = _Growing()
    cluster.add(1, 2)
    logs = AccessLogs(cast("Cluster", cluster))
    logs.mark()
    cluster.add(3)
    logs.since_mark()
    cluster.lines = []
    cluster.add(4, 5)
    assert [e.request_id for e in logs.since_mark()] == ["3", "4", "5"]


def test_a_log_that_was_empty_at_the_mark_is_read_wholly() -> None:
    cluster = _Growing()
    logs = AccessLogs(cast("Cluster", cluster))
    logs.mark()
    cluster.add(*range(100))
    assert len(logs.since_mark()) == 100


def test_what_envoy_says_again_hides_no_entry() -> None:
    refused = b"[warning][config] gRPC config for Listener rejected: Error adding/updating listener(s) virtualInbound\n"
    cluster = _Growing()
    cluster.add(1)
    cluster.lines += [refused] * 100
    logs = AccessLogs(cast("Cluster", cluster))
    logs.mark()
    cluster.lines.append(refused)
    assert logs.since_mark() == []
    for number in (2, 3):
        cluster.add(number)
        cluster.lines.append(refused)
        assert [e.request_id for e in logs.since_mark()] == [str(n) for n in range(2, number + 1)]


class _OneThatFails(_TwoPods):
    """An API that cannot give the log of one pod at first, and whose other log was read by then."""

    def __init__(self) -> None:
        self.failing = True

    def log(self, name: str, _namespace: str, _container: str, *, tail: int | None = None) -> bytes:
        if name == "gone" and self.failing:
            raise ApiFailure(500, "InternalError", "the kubelet does not answer")
        return _LINE.replace(b'"r1"', f'"{name}"'.encode())


def test_a_log_that_cannot_be_read_costs_no_other_one_an_entry() -> None:
    cluster = _OneThatFails()
    logs = AccessLogs(cast("Cluster", cluster))
    with pytest.raises(ApiFailure):
        logs.since_mark()
    cluster.failing = False
    assert [entry.request_id for entry in logs.since_mark()] == ["gone", "here"]
    assert [entry.request_id for entry in logs.since_mark()] == ["gone", "here"]
