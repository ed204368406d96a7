"""What a client sees, proven by requests through real sidecars, not by reading configuration."""

from __future__ import annotations

import datetime as dt
import json
import socket
import threading
import uuid

import pytest
import requests

from meshbdd.lab.certificates import CertificateAuthority
from tests.tools import LabUnderTest, until

VS = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: payment}}
spec:
  hosts: [payment-service]
  http:
  - name: under-test
    {rule}
    route: [{{destination: {{host: payment-service}}}}]
"""
PA = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}}}
spec: {{mtls: {{mode: {mode}}}}}
"""
DR = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: payment}}
spec:
  host: payment-service
  trafficPolicy: {policy}
"""
CHARGE = "http://payment-service/charge"


def _inbound(lab: LabUnderTest) -> str:
    """The inbound listeners that new connections to payment-service meet; draining ones are left out."""
    dump = json.loads(lab.admin("payment-service", "/config_dump?resource=dynamic_listeners"))
    return json.dumps([c.get("active_state") for c in dump["configs"] if c["name"].startswith("virtualInbound")])


def _charge(lab: LabUnderTest, app: str = "client") -> tuple[requests.Response, str]:
    request_id = str(uuid.uuid4())
    return lab.post(CHARGE, app, headers={"x-request-id": request_id}), request_id


def test_sidecars_speak_mutual_tls_to_each_other(lab: LabUnderTest) -> None:
    _, request_id = _charge(lab)
    entry = lab.last_logged("payment-service", request_id)
    assert entry["requested_server_name"] == "outbound_.80_._.payment-service.shop.svc.cluster.local"


@pytest.mark.parametrize(("mode", "answers"), [("STRICT", False), ("PERMISSIVE", True), ("DISABLE", True)])
def test_plaintext_from_outside_the_mesh(lab: LabUnderTest, mode: str, answers: bool) -> None:
    lab.apply(PA.format(name="default", mode=mode))
    kinds = {"STRICT": (False, True), "PERMISSIVE": (True, True), "DISABLE": (True, False)}[mode]
    until("the mode", lambda: ("raw_buffer" in _inbound(lab), '"transport_protocol": "tls"' in _inbound(lab)) == kinds)
    if answers:
        assert _charge(lab, "client-plain")[0].status_code == 200
    else:
        with pytest.raises(requests.ConnectionError):
            _charge(lab, "client-plain")
    assert _charge(lab)[0].status_code == 200


def test_a_client_without_a_certificate_is_refused_under_strict(lab: LabUnderTest) -> None:
    """TLS alone is not enough: the port asks for a certificate of this mesh."""
    import ssl

    lab.apply(PA.format(name="default", mode="STRICT"))
    until("STRICT at the service", lambda: "raw_buffer" not in _inbound(lab))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    address = lab.pod("payment-service")["status"]["podIP"]
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with socket.create_connection((address, 8080), timeout=5) as raw, context.wrap_socket(raw) as secure:
            secure.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert secure.recv(100), "the connection was closed"


@pytest.mark.parametrize("kind", ["foreign", "expired", "good"])
def test_only_a_valid_certificate_of_this_mesh_is_taken(lab: LabUnderTest, tmp_path, kind: str) -> None:
    """One client, three certificates: of another root, an expired one of this mesh, and a good one."""
    import ssl

    if kind == "foreign":
        pair = CertificateAuthority("somebody else").workload("shop", "client")
    else:
        lifetime = dt.timedelta(seconds=2) if kind == "expired" else dt.timedelta(hours=1)
        pair = lab.issue(lifetime)
        if kind == "expired":
            until("the end of its validity", lambda: dt.datetime.now(dt.UTC) > pair.not_after)
    (tmp_path / "chain.pem").write_bytes(pair.chain)
    (tmp_path / "key.pem").write_bytes(pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")

    def status() -> bytes:
        address = lab.pod("payment-service")["status"]["podIP"]
        with socket.create_connection((address, 8080), timeout=5) as raw, context.wrap_socket(raw) as secure:
            secure.sendall(b"GET /healthz HTTP/1.1\r\nhost: payment-service\r\n\r\n")
            return secure.recv(12)

    # PERMISSIVE asks for Istio's ALPN besides; STRICT takes any TLS, so the certificate alone decides.
    lab.apply(PA.format(name="default", mode="STRICT"))
    until("STRICT at the service", lambda: "raw_buffer" not in _inbound(lab))
    if kind == "good":
        assert status() == b"HTTP/1.1 200"
    else:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            assert not status(), "an answer came"
            raise ConnectionError("closed without an answer")


def test_an_aborted_request_is_not_retried_although_its_route_has_retries(lab: LabUnderTest) -> None:
    """Istio leaves the retries on a route with a fault (golden case 08); the fault just answers before them."""
    rule = "retries: {attempts: 3, retryOn: 5xx}\n    fault: {abort: {httpStatus: 503, percentage: {value: 50}}}"
    lab.apply(VS.format(rule=rule))
    lab.in_effect("client", '"under-test"')
    statuses = [_charge(lab)[0].status_code for _ in range(60)]
    # Retried, six in a hundred would fail (half to the fourth) instead of half, of which fewer than 10 of 60 have odds of 5e-8.
    assert statuses.count(503) >= 10, statuses
    answer, request_id = next(pair for _ in range(40) if (pair := _charge(lab))[0].status_code == 503)
    entry = lab.last_logged("client", request_id)
    assert answer.status_code == 503
    assert (entry["response_flags"], entry["response_code_details"]) == ("FI", "fault_filter_abort")
    assert not [e for e in lab.log("payment-service") if e["request_id"] == request_id], "nothing reached the service"


def test_a_pod_without_a_sidecar_meets_no_policy(lab: LabUnderTest) -> None:
    lab.apply(VS.format(rule="fault: {abort: {httpStatus: 500, percentage: {value: 100}}}"))
    lab.in_effect("client", '"under-test"')
    assert _charge(lab)[0].status_code == 500
    assert _charge(lab, "client-plain")[0].status_code == 200


BARE = """
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: shop, labels: {app: bare, sidecar.istio.io/inject: "false"}}
spec:
  containers:
  - {name: app, image: meshbdd/shop, args: [payment-service], ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: bare, namespace: shop}
spec: {selector: {app: bare}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""


def test_a_service_without_a_sidecar_is_reached_in_plaintext(lab: LabUnderTest) -> None:
    """Auto mutual TLS is for endpoints that have a sidecar; the others are called as if there were no mesh."""
    lab.apply(BARE)
    lab.in_effect("client", "outbound|80||bare.shop", "/clusters")
    until("the bare pod answering a meshed client", lambda: lab.post("http://bare/charge").status_code == 200)
    until(
        "the bare pod answering a plain client",
        lambda: lab.post("http://bare/charge", "client-plain").status_code == 200,
    )


def _fail_at_the_service(lab: LabUnderTest, count: int) -> list[int]:
    """Requests that the application itself answers with 404, made 5xx by asking for what it cannot do."""
    with lab.session() as session:
        return [session.post("http://unsteady/", timeout=5).status_code for _ in range(count)]


def _ready_endpoints(lab: LabUnderTest, service: str) -> list[str]:
    """Those that the client's sidecar sends requests to; it is told of others, too."""
    lines = lab.admin("client", "/clusters").splitlines()
    return [line for line in lines if f"||{service}.shop." in line and line.endswith("::health_flags::healthy")]


ALWAYS_503 = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.send_response(503)
        self.send_header("content-length", "0")
        self.end_headers()
http.server.ThreadingHTTPServer((os.environ["HOST"], 8080), Handler).serve_forever()
"""

UNSTEADY = """
apiVersion: v1
kind: Service
metadata: {name: unsteady}
spec:
  selector: {app: unsteady}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: unsteady}
spec:
  selector: {matchLabels: {app: unsteady}}
  template:
    metadata: {labels: {app: unsteady}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: none
        command: [python3, -c, "@"]
        ports: [{containerPort: 8080}]
"""


@pytest.mark.parametrize(("percent", "flag"), [(10, "-"), (100, "UH")])
def test_ejection_with_one_endpoint(lab: LabUnderTest, percent: int, flag: str) -> None:
    """Istio's default of 10 percent ejects nothing where there is one endpoint; 100 percent answers 503 UH."""
    lab.apply(UNSTEADY.replace('"@"', json.dumps(ALWAYS_503)))
    lab.apply(
        DR.format(
            policy=f"{{outlierDetection: {{consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 30s, maxEjectionPercent: {percent}}}}}"
        )
        .replace("payment", "unsteady")
        .replace("unsteady-service", "unsteady")
    )
    until("the pod", lambda: (pods := lab.pods("unsteady")) and all(lab._ready(pod) for pod in pods))
    until("a ready endpoint", lambda: _ready_endpoints(lab, "unsteady"))
    lab.in_effect("client", '"consecutive_5xx": 3')
    assert set(_fail_at_the_service(lab, 20)) == {503}

    def next_flag() -> str:
        request_id = str(uuid.uuid4())
        with lab.session() as session:
            session.post("http://unsteady/", headers={"x-request-id": request_id}, timeout=5)
        return str(lab.last_logged("client", request_id)["response_flags"])

    if flag == "-":
        assert next_flag() == flag
    # Envoy merges changes of health for a second (update_merge_window), and the endpoint has just got ready.
    until(f"flag {flag}", lambda: next_flag() == flag)


def test_a_pod_that_is_not_ready_is_told_and_gets_no_request(lab: LabUnderTest) -> None:
    """As Istio since 1.31; where no pod is ready the caller's sidecar says UH, and no panic sends there all the same."""
    probe = "readinessProbe: {periodSeconds: 1, httpGet: {path: /, port: 8080}}\n        ports: [{containerPort"
    lab.apply(UNSTEADY.replace('"@"', json.dumps(ALWAYS_503)).replace("ports: [{containerPort", probe))
    failing = "::health_flags::/failed_eds_health"

    def told() -> list[str]:
        lines = lab.admin("client", "/clusters").splitlines()
        return [line for line in lines if "||unsteady.shop." in line and line.endswith(failing)]

    until("the endpoint that is not ready", told)
    lab.in_routes("client", "unsteady.shop")
    request_id = str(uuid.uuid4())
    with lab.session() as session:
        assert session.post("http://unsteady/", headers={"x-request-id": request_id}, timeout=5).status_code == 503
    assert lab.last_logged("client", request_id)["response_flags"] == "UH"


def test_a_thousand_route_changes_fail_no_request(lab: LabUnderTest) -> None:
    """Make before break: requests go on while the route is changed again and again; answers tell which change they met."""
    lab.apply(VS.format(rule="headers: {response: {set: {x-change: '0'}}}"))
    lab.in_effect("client", '"under-test"')
    stop = threading.Event()
    outcomes: list[int] = []
    met: list[int] = []

    def load() -> None:
        with lab.session() as session:
            while not stop.is_set():
                answer = session.post(CHARGE, timeout=10, json={})
                outcomes.append(answer.status_code)
                met.append(int(answer.headers.get("x-change", 0)))

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    live = lab.cluster.get("VirtualService", "payment", "shop")
    number = 0
    while number < 1000 or len(outcomes) <= 500:
        number += 1
        live["spec"]["http"][0]["headers"]["response"]["set"]["x-change"] = str(number)
        live = lab.cluster.replace(live)
        if number % 10 == 0:  # changes that come faster than they arrive are gathered; these are seen one by one
            until(f"change {number}", lambda number=number: number <= max(met[-9:], default=0))
    stop.set()
    for thread in threads:
        thread.join()
    print(
        f"\n{number} changes written, {len(set(met))} of them met by {len(outcomes)} requests, {sum(o != 200 for o in outcomes)} failed"
    )
    assert set(outcomes) == {200}
    assert len(set(met)) >= 100


def test_metrics_carry_istios_names(lab: LabUnderTest) -> None:
    _charge(lab)
    address = lab.pod("payment-service")["status"]["podIP"]
    page = until(
        "the request in the metrics",
        lambda: (
            (text := requests.get(f"http://{address}:15020/stats/prometheus", timeout=5).text)
            and "istio_requests_total{" in text
            and text
        ),
    )
    labels = (
        'reporter="destination"', 'source_workload="client"', 'response_code="200"', 'connection_security_policy="mutual_tls"',
        'destination_service="payment-service.shop.svc.cluster.local"', 'destination_workload="payment-service"',
        'source_principal="spiffe://cluster.local/ns/shop/sa/client"',
    )  # fmt: skip
    lines = [line for line in page.splitlines() if line.startswith("istio_requests_total{")]
    assert any(all(label in line for label in labels) for line in lines), "\n".join(lines)
    assert "envoy_server_uptime" in page
    assert 'envoy_cluster_name="outbound' not in page, "Istio's sidecars keep no statistics of clusters unless asked to"


def test_a_host_with_two_ports_and_grpc(lab: LabUnderTest) -> None:
    """gRPC enters the sidecar at its address, with the service's name as authority; port 9000 has its own routes."""
    import grpc

    options = [("grpc.default_authority", "payment-service:9000"), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(lab.outbound("client"), options) as channel:
        call = channel.unary_unary("/shop.Payment/Charge")
        assert b"charged" in call(b"{}", timeout=5)
    assert _charge(lab)[0].status_code == 200


def test_connect_is_explained(lab: LabUnderTest) -> None:
    host, port = lab.outbound("client").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.sendall(b"CONNECT payment-service:9000 HTTP/1.1\r\nhost: payment-service:9000\r\n\r\n")
        answer = raw.recv(4096).decode()
    assert " 405 " in answer
    assert "with the service's name as authority" in answer
