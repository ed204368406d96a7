"""The counters of a sidecar outlive what they were counted under."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from meshbdd.lab.sidecar.ledger import Ledger


def page(uptime: int, requests: dict[str, int], seconds: int | None = None) -> str:
    """A page as Envoy writes it: what it has forgotten is not on it, with its type."""
    lines = []
    if requests:
        lines.append("# TYPE envoy_istio_requests_total counter")
        lines += [f'envoy_istio_requests_total{{code="{code}"}} {number}' for code, number in requests.items()]
    lines += ["# TYPE envoy_server_uptime gauge", f"envoy_server_uptime{{}} {uptime}"]
    if seconds is not None:
        lines.append("# TYPE envoy_istio_request_duration_milliseconds histogram")
        name = "envoy_istio_request_duration_milliseconds"
        lines += [f'{name}_bucket{{code="200",le="+Inf"}} {seconds}', f'{name}_sum{{code="200"}} {seconds}.5']
        lines.append(f'{name}_count{{code="200"}} {seconds}')
    return "\n".join(lines) + "\n"


def values(text: str) -> dict[str, float]:
    """Read back with a parser that takes a family's samples only behind its type."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.type != "unknown", family
        for sample in family.samples:
            found[" ".join([sample.name, sample.labels.get("code", "")]).strip()] = sample.value
    return found


def requests(text: str) -> dict[str, float]:
    return {key.split()[1]: value for key, value in values(text).items() if key.startswith("envoy_istio_requests")}


def test_what_is_forgotten_is_told_and_counted_on() -> None:
    ledger = Ledger()
    assert requests(ledger.kept(page(10, {"200": 20, "503": 1}))) == {"200": 20, "503": 1}
    assert requests(ledger.kept(page(20, {"200": 25}))) == {"200": 25, "503": 1}
    assert requests(ledger.kept(page(30, {}))) == {"200": 25, "503": 1}
    assert requests(ledger.kept(page(40, {"200": 3}))) == {"200": 28, "503": 1}
    assert requests(ledger.kept(page(50, {"200": 2}))) == {"200": 30, "503": 1}


def test_histograms_too() -> None:
    ledger = Ledger()
    ledger.kept(page(10, {}, 7))
    told = values(ledger.kept(page(20, {"200": 1})))
    assert told["envoy_istio_request_duration_milliseconds_count 200"] == 7
    assert told["envoy_istio_request_duration_milliseconds_sum 200"] == 7.5
    assert told["envoy_istio_request_duration_milliseconds_bucket 200"] == 7


def test_an_empty_bucket_is_not_lost_with_the_others() -> None:
    ledger = Ledger()
    bucket = 'envoy_istio_request_duration_milliseconds_bucket{code="200",le="1"}'
    full = page(10, {}, 7).replace("histogram\n", f"histogram\n{bucket} 0\n")
    for text in (full, page(20, {}), page(30, {})):
        assert f"{bucket} 0\n" in ledger.kept(text)


def test_another_process_begins_anew() -> None:
    ledger = Ledger()
    ledger.kept(page(100, {"200": 20}))
    assert requests(ledger.kept(page(2, {"200": 3}))) == {"200": 3}


def test_what_is_not_ours_is_left_alone() -> None:
    told = values(Ledger().kept(page(10, {"200": 1})))
    assert told["envoy_server_uptime"] == 10
