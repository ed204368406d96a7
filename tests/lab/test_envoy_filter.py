"""EnvoyFilters by traffic: a server-side fault, one that is armed and switched by its settings, and an epoch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter

import requests

from tests.tools import LabUnderTest, until

FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
MANAGER = "envoy.filters.network.http_connection_manager"
CHARGE = "http://payment-service/charge"
INSERTED = f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: payment-fault}}
spec:
  workloadSelector: {{labels: {{app: payment-service}}}}
  configPatches:
  - applyTo: HTTP_FILTER
    match: {{context: SIDECAR_INBOUND, listener: {{filterChain: {{filter: {{name: {MANAGER}}}}}}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: meshbdd.fault
        typed_config:
          "@type": {FAULT}
          abort: {{http_status: 418, percentage: {{numerator: 100}}}}
"""
MERGED = f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: payment-fault}}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener: {{filterChain: {{filter: {{name: {MANAGER}, subFilter: {{name: envoy.filters.http.fault}}}}}}}}
    patch:
      operation: MERGE
      value:
        typed_config:
          "@type": {FAULT}
          abort: {{http_status: 419, percentage: {{numerator: 100}}}}
          headers: [{{name: ":path", string_match: {{prefix: /charge}}}}]
"""
ARMED = f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: armed}}
spec:
  workloadSelector: {{labels: {{app: payment-service}}}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener: {{filterChain: {{filter: {{name: {MANAGER}, subFilter: {{name: envoy.filters.http.router}}}}}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: meshbdd.fault
        config_discovery:
          config_source: {{ads: {{}}, initial_fetch_timeout: 0s, resource_api_version: V3}}
          type_urls: [{FAULT}]
  - applyTo: EXTENSION_CONFIG
    match: {{context: SIDECAR_INBOUND}}
    patch:
      operation: ADD
      value:
        name: meshbdd.fault
        typed_config:
          "@type": {FAULT}
"""
EPOCH = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: epoch}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND, cluster: {service: payment-service.shop.svc.cluster.local}}
    patch: {operation: MERGE, value: {metadata: {filter_metadata: {meshbdd: {epoch: "7"}}}}}
"""


def _listeners(lab: LabUnderTest) -> str:
    dump = json.loads(lab.admin("payment-service", "/config_dump?resource=dynamic_listeners"))
    return json.dumps([item.get("active_state") for item in dump["configs"]])


def _settings(lab: LabUnderTest) -> str:
    return lab.admin("payment-service", "/config_dump?resource=ecds_filters")


def test_an_inserted_fault_is_the_servers_answer(lab: LabUnderTest) -> None:
    lab.apply(INSERTED)
    # A connection that is open keeps the old listener for one answer.
    until("the fault", lambda: lab.post(CHARGE).status_code == 418)
    # At the server, therefore an answer that callers may retry, with the flag in the server's log.
    answer = lab.post(CHARGE, headers={"x-request-id": "inserted-1"})
    assert (answer.status_code, answer.text) == (418, "fault filter abort")
    assert lab.last_logged("payment-service", "inserted-1")["response_flags"] == "FI"
    assert lab.last_logged("client", "inserted-1")["response_flags"] == "-"
    assert lab.post("http://inventory-service/reserve").status_code == 200


def test_a_merged_fault_keeps_to_its_path(lab: LabUnderTest) -> None:
    lab.apply(MERGED)
    until("the merged fault", lambda: "419" in _listeners(lab))
    lab.apply(EPOCH)  # so that no connection is left that has the listener of before
    until("the epoch", lambda: re.search(r'"epoch": "7"', _clusters(lab)))
    assert lab.post(CHARGE).status_code == 419
    assert lab.get("http://payment-service/healthz").status_code == 200


def test_an_armed_fault_is_switched_on_open_connections(lab: LabUnderTest) -> None:
    """Arming changes the listener once; after that every switch counts for the next request of an open connection."""
    lab.apply(ARMED)
    until("the armed filter", lambda: "config_discovery" in _listeners(lab) and "meshbdd.fault" in _settings(lab))
    lab.apply(EPOCH)  # so that no connection of before the arming is left
    until("the epoch", lambda: re.search(r'"epoch": "7"', _clusters(lab)))
    armed = _listeners(lab)
    with lab.session() as session:

        def status() -> int:
            return session.post(CHARGE, timeout=10, json={"sku": "A1", "quantity": 1}).status_code

        assert status() == 200
        held = lab.cluster.get("EnvoyFilter", "armed", "shop")
        fault = held["spec"]["configPatches"][1]["patch"]["value"]["typed_config"]
        for code in (418, 503, None):
            fault.pop("abort", None)
            if code:
                fault["abort"] = {"http_status": code, "percentage": {"numerator": 100}}
            held = lab.cluster.replace(held)
            fault = held["spec"]["configPatches"][1]["patch"]["value"]["typed_config"]
            until("the settings", lambda code=code: (f'"http_status": {code}' if code else "{") in _settings(lab)
                  and (code is not None or "http_status" not in _settings(lab)))  # fmt: skip
            assert [status() for _ in range(5)] == [code or 200] * 5
    assert _listeners(lab) == armed, "the listener was left alone"


def test_an_epoch_replaces_the_callers_cluster_and_loses_no_request(lab: LabUnderTest) -> None:
    before = _clusters(lab)
    assert "epoch" not in before
    seen: Counter[int] = Counter()
    with requests.Session() as session:
        session.trust_env = False
        session.proxies = {"http": f"http://{lab.outbound('client')}"}
        lab.apply(EPOCH)
        for _ in range(50):
            seen[session.post(CHARGE, timeout=10, json={"sku": "A1", "quantity": 1}).status_code] += 1
        until("the epoch", lambda: re.search(r'"epoch": "7"', _clusters(lab)))
        for _ in range(50):
            seen[session.post(CHARGE, timeout=10, json={"sku": "A1", "quantity": 1}).status_code] += 1
    assert seen == {200: 100}


def _clusters(lab: LabUnderTest) -> str:
    dump = json.loads(lab.admin("client", "/config_dump?resource=dynamic_active_clusters"))
    return json.dumps([c for c in dump["configs"] if c["cluster"]["name"].startswith("outbound|80||payment")])


def _refusal(lab: LabUnderTest, name: str) -> str:
    held = lab.cluster.get("EnvoyFilter", name, "shop")
    conditions = (held.get("status") or {}).get("conditions") or []
    return next((c["message"] for c in conditions if c["reason"] == "RefusedByEnvoy"), "")


def test_what_envoy_refuses_is_told_in_its_words_and_the_old_configuration_stays(lab: LabUnderTest) -> None:
    """A status that Envoy does not take: the object says so, calls go on as before, and a mended object is forgiven."""
    lab.apply(INSERTED.replace("418", "700"))
    sentence = until("Envoy's sentence", lambda: _refusal(lab, "payment-fault"))
    pod = lab.pod("payment-service")["metadata"]["name"]
    assert sentence.endswith(f" (pods: {pod}.shop)")
    assert "HttpStatus: value must be inside range [200, 600)" in sentence
    assert [lab.post(CHARGE).status_code for _ in range(3)] == [200] * 3
    command = [sys.executable, "-m", "meshbdd", "lab", "status", "shared"]
    status = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "Envoy refuses EnvoyFilter payment-fault in shop" in status
    assert "inside range [200, 600)" in status
    assert "envoyfilters payment-fault in shop" in (lab.info.folder / "lab.log").read_text()

    held = lab.cluster.get("EnvoyFilter", "payment-fault", "shop")
    held["spec"]["configPatches"][0]["patch"]["value"]["typed_config"]["abort"]["http_status"] = 418
    lab.cluster.replace(held)
    until("the mended fault", lambda: lab.post(CHARGE).status_code == 418)
    assert _refusal(lab, "payment-fault") == ""


def test_settings_that_envoy_refuses_leave_the_armed_filter_as_it_was(lab: LabUnderTest) -> None:
    lab.apply(ARMED)
    until("the armed filter", lambda: "meshbdd.fault" in _settings(lab))
    held = lab.cluster.get("EnvoyFilter", "armed", "shop")
    fault = held["spec"]["configPatches"][1]["patch"]["value"]["typed_config"]
    fault["delay"] = {"fixed_delay": "0s", "percentage": {"numerator": 100}}
    lab.cluster.replace(held)
    assert "FixedDelay" in until("Envoy's sentence", lambda: _refusal(lab, "armed"))
    assert lab.post(CHARGE).status_code == 200


RING = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ring, namespace: shop}
spec: {host: payment-service, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 99999999}}}}
"""


def test_a_cluster_that_every_envoy_refuses_is_told_once_in_one_line(lab: LabUnderTest) -> None:
    """Envoy puts the whole message before its sentence; Istio's admission takes this ring, too."""
    lab.apply(RING)
    meshed = [pod["metadata"]["name"] for pod in lab.cluster.list("Pod", "shop") if len(pod["spec"]["containers"]) > 1]

    def told() -> str:
        conditions = (lab.cluster.get("DestinationRule", "ring", "shop").get("status") or {}).get("conditions") or []
        message = "".join(c["message"] for c in conditions if c["reason"] == "RefusedByEnvoy")
        return message if all(f"{pod}.shop" in message for pod in meshed) else ""

    message = until("the sentence, and every pod", told)
    assert "\n" not in message
    assert message.count("value must be less than or equal to 8388608") == 1
    assert "outbound|80||payment-service.shop.svc.cluster.local: Proto constraint" in message
    assert len(message) < 1000
