"""The lab's Linkerd mode, proven by requests through real sidecars."""

from __future__ import annotations

import collections
from collections.abc import Iterator

import pytest
import requests

from tests.tools import LabUnderTest, until

VERSION = "http://order-service/version"
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: order-stable}
spec: {selector: {app: order-service, version: stable}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: order-canary}
spec: {selector: {app: order-service, version: canary}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
EMPTY = """
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80}]}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: order-service, kind: Service, group: core, port: 80}}]
  rules: {rules}
"""


SERVER = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: payments}
spec: {podSelector: {matchLabels: {app: payment-service}}, port: 8080, accessPolicy: deny}
"""


@pytest.fixture(scope="module")
def linkerd_lab() -> Iterator[LabUnderTest]:
    lab = LabUnderTest.up("linkerd", mesh="linkerd")
    yield lab
    lab.down()


@pytest.fixture
def lab(linkerd_lab: LabUnderTest) -> Iterator[LabUnderTest]:
    yield linkerd_lab
    linkerd_lab.clean()
    until("the routes leaving the client", lambda: "HTTPRoute.shop." not in linkerd_lab.admin("client", "/config_dump"))


def _route(lab: LabUnderTest, rules: str, name: str = "orders") -> None:
    lab.apply(ROUTE.format(name=name, rules=rules))
    lab.in_routes("client", f"HTTPRoute.shop.{name}")


def _versions(lab: LabUnderTest, count: int) -> collections.Counter[str]:
    seen: collections.Counter[str] = collections.Counter()
    with lab.session() as session:
        for _ in range(count):
            answer = session.get(VERSION, timeout=10)
            seen[answer.json()["version"] if answer.status_code == 200 else str(answer.status_code)] += 1
    return seen


def test_the_shop_works_through_linkerds_sidecars(lab: LabUnderTest) -> None:
    assert lab.post("http://order-service/checkout").json()["status"] == "confirmed"
    assert lab.post("http://order-service/checkout", "client-plain").json()["status"] == "confirmed"


def test_a_pod_carries_the_marks_of_an_injected_one(lab: LabUnderTest) -> None:
    pod = lab.pod("payment-service")
    assert pod["metadata"]["labels"]["linkerd.io/control-plane-ns"] == "linkerd"
    assert pod["metadata"]["labels"]["linkerd.io/proxy-deployment"] == "payment-service"
    proxy = pod["spec"]["initContainers"][-1]
    assert (proxy["name"], proxy["restartPolicy"]) == ("linkerd-proxy", "Always")
    assert [c["name"] for c in pod["spec"]["containers"]] == ["app"]
    status = next(s for s in pod["status"]["initContainerStatuses"] if s["name"] == "linkerd-proxy")
    assert status["ready"]
    assert "initContainers" not in lab.pod("client-plain")["spec"]


def test_an_httproute_splits_by_weight(lab: LabUnderTest) -> None:
    lab.apply(SERVICES)
    _route(
        lab,
        "[{backendRefs: [{name: order-stable, port: 80, weight: 90}, {name: order-canary, port: 80, weight: 10}]}]",
    )
    seen = _versions(lab, 300)
    assert set(seen) == {"stable", "canary"}
    # Binomial(300, 0.1): outside of 5..70 less than once in 1e7.
    assert 5 <= seen["canary"] <= 70


_HALF_EMPTY = "[{backendRefs: [{name: order-stable, port: 80}, {name: empty, port: 80}]}]"


def test_a_backend_without_endpoints_draws_its_share_until_one_has_waited_in_vain(lab: LabUnderTest) -> None:
    lab.apply(SERVICES)
    lab.apply(EMPTY)
    empty = lab.applied[-1]
    _route(lab, _HALF_EMPTY)
    # None of forty draws the empty backend once in 1e12.
    assert _versions(lab, 40) == {"504": 1, "stable": 39}
    lab.cluster.delete(empty)
    lab.apply(SERVICES.rpartition("---")[2].replace("order-canary", "empty"))
    full = lab.applied[-1]
    lab.in_routes("client", '"drawn"', gone=True)
    until("both backends", lambda: _versions(lab, 40).keys() == {"stable", "canary"})
    lab.cluster.delete(full)
    lab.apply(EMPTY)
    lab.in_routes("client", '"drawn"')
    assert _versions(lab, 40) == {"504": 1, "stable": 39}, "it is forgotten that it was passed over"


def test_a_request_that_waited_for_nobody_is_tried_again_elsewhere(lab: LabUnderTest) -> None:
    lab.apply(SERVICES)
    lab.apply(EMPTY.replace("empty", "nobody"))
    rules = _HALF_EMPTY.replace("empty", "nobody")
    lab.apply(ROUTE.format(name="orders, annotations: {retry.linkerd.io/http: 5xx}", rules=rules))
    lab.in_routes("client", "HTTPRoute.shop.orders")
    with lab.session() as session:
        answers = [session.get(VERSION, timeout=10) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {200}
    assert sum(answer.elapsed.total_seconds() > 2.5 for answer in answers) == 1


def test_a_connection_to_a_port_that_a_service_does_not_have_ends_without_an_answer(lab: LabUnderTest) -> None:
    for _ in range(3):
        with pytest.raises(requests.ConnectionError):
            lab.get("http://order-service:81/version")
    assert lab.get(VERSION).status_code == 200


_FOR_MINE = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: orders}
spec: {podSelector: {matchLabels: {app: order-service}}, port: 8080, accessPolicy: all-unauthenticated}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: for-mine}
spec:
  parentRefs: [{name: orders, kind: Server, group: policy.linkerd.io}]
  rules:
  - matches: [{path: {value: /version}, headers: [{name: x-backend, value: mine}]}]
  - matches: [{path: {value: /health}}]
"""
"""Inbound, of versions only those are answered that come with this header as the client sent it."""
_OF_ITS_OWN = """
  - backendRefs:
    - name: order-stable
      port: 80
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Backend, value: stable}]}}]
    - name: order-canary
      port: 80
      filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x-answered, value: "100%"}]}}]
"""


def test_a_backend_of_a_split_has_header_filters_of_its_own_at_each_try(lab: LabUnderTest) -> None:
    lab.apply(SERVICES + "---" + _FOR_MINE)
    lab.in_routes("order-service", "for-mine")
    _route(lab, _OF_ITS_OWN)

    def seen() -> collections.Counter[tuple[int, str | None]]:
        with lab.session() as session:
            answers = [session.get(VERSION, headers={"x-backend": "mine"}, timeout=10) for _ in range(40)]
        return collections.Counter((answer.status_code, answer.headers.get("x-answered")) for answer in answers)

    assert set(seen()) == {(404, None), (200, "100%")}
    route = lab.cluster.get("HTTPRoute", "orders", "shop")
    route["metadata"]["annotations"] = {"retry.linkerd.io/http": "404", "retry.linkerd.io/limit": "30"}
    lab.cluster.replace(route)
    lab.in_routes("client", '"num_retries"')
    assert seen() == {(200, "100%"): 40}, "the next try does not find what the filter of the one before it set"


def test_what_no_rule_matches_is_404_and_never_reaches_the_service(lab: LabUnderTest) -> None:
    _route(lab, "[{matches: [{path: {type: PathPrefix, value: /orders}}]}]")
    answer = lab.get(VERSION)
    assert answer.status_code == 404
    assert answer.headers["l5d-proxy-error"].endswith(":80: no route")
    assert lab.get("http://order-service/orders/count").status_code == 200


def test_a_missing_backend_keeps_its_share_as_500(lab: LabUnderTest) -> None:
    lab.apply(SERVICES)
    _route(lab, "[{backendRefs: [{name: order-stable, port: 80}, {name: nowhere, port: 80}]}]")
    seen = _versions(lab, 200)
    assert set(seen) == {"stable", "500"}
    # Binomial(200, 0.5): outside of 60..140 less than once in 1e7.
    assert 60 <= seen["500"] <= 140


def test_the_status_of_a_route_is_written_and_says_since_when(lab: LabUnderTest) -> None:
    _route(lab, "[{backendRefs: [{name: nowhere, port: 80}]}]")

    def conditions() -> list[dict[str, str]]:
        route = lab.cluster.get("HTTPRoute", "orders", "shop")
        parents = (route.get("status") or {}).get("parents") or [{}]
        return parents[0].get("conditions") or []

    told = until("the status", conditions)
    assert [(c["type"], c["status"], c["reason"]) for c in told] == [
        ("Accepted", "True", "Accepted"),
        ("ResolvedRefs", "False", "BackendNotFound"),
    ]
    assert all(c["lastTransitionTime"] for c in told)


def test_linkerds_webhook_denies_a_bad_annotation(lab: LabUnderTest) -> None:
    text = ROUTE.format(name="orders", rules="[{}]").replace(
        "{name: orders}", "{name: orders, namespace: shop, annotations: {timeout.linkerd.io/request: soon}}"
    )
    told = lab.kubectl("apply", "-f", "-", stdin=text, check=False)
    assert told.returncode == 1
    assert "soon does not contain a timeout duration value" in told.stderr


def test_a_sidecar_lives_on_although_its_spec_has_a_liveness_probe(lab: LabUnderTest) -> None:
    """The probe names the pod's address, where the lab itself serves the admin port; it must not end the sidecar."""
    pod = lab.pod("payment-service")
    proxy = next(c for c in pod["spec"]["initContainers"] if c["name"] == "linkerd-proxy")
    assert proxy["livenessProbe"]["httpGet"]["port"] == 4191
    address = pod["status"]["podIP"]
    for path in ("/ready", "/live"):
        assert requests.get(f"http://{address}:4191{path}", timeout=5).status_code == 200


def test_nobody_to_answer_is_504_after_three_seconds_and_503_at_once_then(lab: LabUnderTest) -> None:
    lab.apply(EMPTY)
    lab.in_routes("client", '"name": "Service.shop.empty:80"')
    first, second = lab.get("http://empty/"), lab.get("http://empty/")
    assert (first.status_code, second.status_code) == (504, 503)
    assert first.elapsed.total_seconds() >= 2.9
    assert first.headers["l5d-proxy-error"].endswith("service in fail-fast")
    assert second.headers["l5d-proxy-error"].endswith("service unavailable")


def test_open_connections_obey_a_new_policy_at_once(lab: LabUnderTest) -> None:
    """Linkerd's proxies judge each request by what they know by then; no connection outlives a denial."""
    address = f"http://{lab.pod('payment-service')['status']['podIP']}:8080/health"
    with requests.Session() as unmeshed, lab.session() as meshed:
        calls = [
            lambda: unmeshed.get(address, timeout=5),
            lambda: meshed.get("http://payment-service/health", timeout=5),
        ]
        assert 403 not in [call().status_code for call in calls]
        lab.kubectl("apply", "-n", "shop", "-f", "-", stdin=SERVER)
        until("the denial", lambda: requests.get(address, timeout=5).status_code == 403)
        denied = [call().status_code for call in calls]
        lab.kubectl("delete", "-n", "shop", "-f", "-", stdin=SERVER)
        until("the denial's end", lambda: requests.get(address, timeout=5).status_code != 403)
        assert denied == [403, 403]
        assert 403 not in [call().status_code for call in calls]


UNDECLARED = 9321
MORE = f"""
apiVersion: v1
kind: Service
metadata: {{name: more}}
spec: {{selector: {{app: payment-service}}, ports: [{{name: http, port: {UNDECLARED}}}]}}
"""


@pytest.mark.parametrize("callers", [("client", "client-plain"), ("client-plain", "client"), ("client", "client")])
@pytest.mark.parametrize("first", ["before the Server", "after it"])
def test_one_request_alone_precedes_what_a_server_says_of_a_port_that_no_container_declares(
    lab: LabUnderTest, callers: tuple[str, str], first: str
) -> None:
    """Nobody listens there, so whoever passes the proxy meets none. A proxy that has just started has asked for no policy."""
    pod = lab.pod("payment-service")["metadata"]["name"]
    lab.kubectl("delete", "pod", "-n", "shop", pod)
    until("the next pod", lambda: [p for p in lab.pods("payment-service") if p["metadata"]["name"] != pod])
    lab.kubectl("wait", "-n", "shop", "--for=condition=Ready", "pod", "-l", "app=payment-service", "--timeout=30s")
    lab.apply(MORE)
    lab.in_listeners("payment-service", f"inbound:{UNDECLARED}")
    lab.in_routes("client", "more.shop")
    server = SERVER.replace("8080", str(UNDECLARED)).replace("name: payments", "name: more")
    statuses = []

    def call(app: str) -> None:
        statuses.append(lab.get(f"http://more:{UNDECLARED}/", app).status_code)

    if first == "before the Server":
        call(callers[0])
    lab.apply(server)
    lab.in_routes("payment-service", "server|more")
    for app in callers if first == "after it" else callers[1:]:
        call(app)
    call(callers[1])
    assert [status == 403 for status in statuses] == [False, True, True], statuses
