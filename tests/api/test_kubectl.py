"""The real kubectl (1.32) against the server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from conftest import Server

Kubectl = Callable[..., subprocess.CompletedProcess[str]]

VIRTUAL_SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s}
spec:
  hosts: [%s]
  gateways: [mesh]
  http: [{route: [{destination: {host: reviews, subset: v1}}]}]
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: nginx, ports: [{containerPort: 80}], env: [{name: A, value: one}, {name: B, value: two}]}
"""


def test_version_and_resources(kubectl: Kubectl) -> None:
    assert "Server Version: v1.32." in kubectl("version").stdout
    told = kubectl("api-resources", "-o", "wide").stdout
    for line in ("pods", "deployments", "virtualservices", "customresourcedefinitions"):
        assert line in told
    assert "networking.istio.io/v1" in kubectl("api-versions").stdout


def test_apply_get_and_change(kubectl: Kubectl) -> None:
    manifest = VIRTUAL_SERVICE % ("applied", "one")
    assert "created" in kubectl("apply", "-f", "-", stdin=manifest).stdout
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=manifest).stdout
    assert "configured" in kubectl("apply", "-f", "-", stdin=VIRTUAL_SERVICE % ("applied", "two")).stdout
    assert kubectl("get", "vs", "applied", "-o", "jsonpath={.spec.hosts[0]}").stdout == "two"
    assert "hosts:\n  - two" in kubectl("get", "vs", "applied", "-o", "yaml").stdout
    table = kubectl("get", "vs", "applied").stdout
    assert table.split()[:4] == ["NAME", "GATEWAYS", "HOSTS", "AGE"]
    assert '["two"]' in table
    assert kubectl("diff", "-f", "-", stdin=VIRTUAL_SERVICE % ("applied", "two")).stdout == ""


def test_apply_refuses_a_field_that_does_not_exist(kubectl: Kubectl) -> None:
    refused = kubectl("apply", "-f", "-", stdin=(VIRTUAL_SERVICE % ("typo", "x")).replace("hosts:", "hots:"), ok=False)
    assert 'unknown field "spec.hots"' in refused.stderr
    kubectl("get", "vs", "typo", ok=False)


def test_strategic_merge_keeps_what_the_manifest_does_not_say(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT % "web")
    kubectl(
        "apply",
        "-f",
        "-",
        stdin=(DEPLOYMENT % "web").replace("value: one", "value: uno").replace(", {name: B, value: two}", ""),
    )
    containers = json.loads(kubectl("get", "deploy", "web", "-o", "json").stdout)["spec"]["template"]["spec"][
        "containers"
    ]
    assert containers[0]["env"] == [{"name": "A", "value": "uno"}]
    kubectl("set", "image", "deploy/web", "web=nginx:1.27")
    kubectl("set", "env", "deploy/web", "C=three")
    kubectl("scale", "deploy/web", "--replicas=5")
    wide = kubectl("get", "deploy", "web", "-o", "wide").stdout
    assert "0/5" in wide
    assert "nginx:1.27" in wide
    assert "C:" in kubectl("describe", "deploy", "web").stdout
    refused = kubectl("patch", "deploy", "web", "-p", '{"spec":{"selector":{"matchLabels":{"app":"other"}}}}', ok=False)
    assert "field is immutable" in refused.stderr
    kubectl("delete", "deploy", "web")


def test_server_side_apply_names_the_other_manager(kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "-f", "-", stdin=VIRTUAL_SERVICE % ("shared", "one"))
    clash = kubectl(
        "apply",
        "--server-side",
        "--field-manager=other",
        "-f",
        "-",
        stdin=VIRTUAL_SERVICE % ("shared", "two"),
        ok=False,
    )
    assert 'conflict with "kubectl"' in clash.stderr
    assert ".spec.hosts" in clash.stderr
    forced = ("apply", "--server-side", "--force-conflicts", "--field-manager=other", "-f", "-")
    kubectl(*forced, stdin=VIRTUAL_SERVICE % ("shared", "two"))
    managers = json.loads(kubectl("get", "vs", "shared", "-o", "json", "--show-managed-fields").stdout)["metadata"][
        "managedFields"
    ]
    assert {m["manager"]: "f:hosts" in m["fieldsV1"]["f:spec"] for m in managers} == {"kubectl": False, "other": True}


def test_label_annotate_select_and_patch(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=VIRTUAL_SERVICE % ("marked", "one"))
    kubectl("label", "vs", "marked", "tier=front")
    kubectl("annotate", "vs", "marked", "note=x")
    assert (
        kubectl("get", "vs", "-l", "tier in (front,back)", "-o", "name").stdout.strip()
        == "virtualservice.networking.istio.io/marked"
    )
    assert "No resources found" in kubectl("get", "vs", "-l", "tier=none").stderr
    kubectl("patch", "vs", "marked", "--type=json", "-p", '[{"op":"replace","path":"/spec/hosts/0","value":"p"}]')
    kubectl("patch", "vs", "marked", "--type=merge", "-p", '{"metadata":{"annotations":{"note":null}}}')
    found = json.loads(kubectl("get", "vs", "marked", "-o", "json").stdout)
    assert found["spec"]["hosts"] == ["p"]
    assert "note" not in found["metadata"]["annotations"]
    refused = kubectl("patch", "vs", "marked", "-p", "{}", "--type=strategic", ok=False)
    assert "application/strategic-merge-patch+json is not supported" in refused.stderr


def test_describe_shows_events(kubectl: Kubectl) -> None:
    kubectl("run", "lonely", "--image=nginx")
    uid = kubectl("get", "pod", "lonely", "-o", "jsonpath={.metadata.uid}").stdout
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "lonely.1"},
        "type": "Warning",
        "reason": "BackOff",
        "message": "it does not start",
        "count": 1,
        "source": {"component": "kubelet"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "lonely", "uid": uid, "apiVersion": "v1"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    kubectl("create", "-f", "-", stdin=json.dumps(event))
    told = kubectl("describe", "pod", "lonely").stdout
    assert "it does not start" in told
    assert "BackOff" in kubectl("events", "--for", "pod/lonely").stdout
    assert "pod/lonely" in kubectl("get", "events").stdout
    assert kubectl("get", "pods", "-o", "wide").stdout.split()[:4] == ["NAME", "READY", "STATUS", "RESTARTS"]
    refused = kubectl("logs", "lonely", ok=False)
    assert 'container "lonely" in pod "lonely"' in refused.stderr
    kubectl("delete", "pod", "lonely", "--timeout=5s")


def test_rights(kubectl: Kubectl, server: Server) -> None:
    assert kubectl("auth", "can-i", "create", "pods").stdout.strip() == "yes"
    assert kubectl("auth", "can-i", "update", "vs", "-n", "default").stdout.strip() == "yes"
    assert "kubernetes-admin" in kubectl("auth", "whoami").stdout
    assert "*.*" in kubectl("auth", "can-i", "--list").stdout
    viewer = (f"--token={server.viewer}",)
    assert kubectl("auth", "can-i", "create", "pods", *viewer, ok=False).stdout.strip() == "no"
    refused = kubectl("create", "configmap", "no", *viewer, ok=False)
    assert (
        'configmaps is forbidden: User "viewer" cannot create resource "configmaps" in API group ""' in refused.stderr
    )
    assert (
        "Unauthorized" in kubectl("get", "vs", "--token=wrong", ok=False).stderr
        or "must be logged in" in kubectl("get", "vs", "--token=wrong", ok=False).stderr
    )


def test_what_kubectl_posts_as_protobuf(kubectl: Kubectl) -> None:
    kubectl("create", "namespace", "posted")
    kubectl("create", "configmap", "posted", "-n", "posted", "--from-literal=a=b")
    assert kubectl("get", "cm", "posted", "-n", "posted", "-o", "jsonpath={.data.a}").stdout == "b"
    kubectl("create", "secret", "generic", "posted", "-n", "posted", "--from-literal=p=q")
    assert kubectl("get", "secret", "posted", "-n", "posted", "-o", "jsonpath={.data.p}").stdout == "cQ=="
    kubectl("create", "serviceaccount", "posted", "-n", "posted")
    assert len(kubectl("create", "token", "posted", "-n", "posted").stdout.strip()) > 20
    kubectl("create", "deployment", "posted", "-n", "posted", "--image=nginx", "--replicas=3", "--port=80")
    made = json.loads(kubectl("get", "deploy", "posted", "-n", "posted", "-o", "json").stdout)
    assert made["spec"]["replicas"] == 3
    assert made["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] == 80
    kubectl("expose", "deployment", "posted", "-n", "posted", "--port=80", "--target-port=8080")
    assert (
        kubectl("get", "svc", "posted", "-n", "posted", "-o", "jsonpath={.spec.ports[0].targetPort}").stdout == "8080"
    )
    kubectl("delete", "namespace", "posted", "--timeout=10s")
    kubectl("get", "namespace", "posted", ok=False)
    assert "No resources found" in kubectl("get", "cm", "-n", "posted").stderr


def test_wording_of_refusals(kubectl: Kubectl) -> None:
    assert (
        'Error from server (NotFound): virtualservices.networking.istio.io "nope" not found'
        in kubectl("get", "vs", "nope", ok=False).stderr
    )
    missing = kubectl("apply", "-n", "nowhere", "-f", "-", stdin=VIRTUAL_SERVICE % ("x", "x"), ok=False)
    assert 'namespaces "nowhere" not found' in missing.stderr
    kubectl("create", "-f", "-", stdin=VIRTUAL_SERVICE % ("twice", "x"))
    again = kubectl("create", "-f", "-", stdin=VIRTUAL_SERVICE % ("twice", "x"), ok=False)
    assert 'virtualservices.networking.istio.io "twice" already exists' in again.stderr
    assert "the server doesn't have a resource type" in kubectl("get", "nothing", ok=False).stderr
    stale = json.loads(kubectl("get", "vs", "twice", "-o", "json").stdout)
    kubectl("label", "vs", "twice", "a=b")
    stale["spec"]["hosts"] = ["y"]
    conflict = kubectl("replace", "-f", "-", stdin=json.dumps(stale), ok=False)
    assert (
        "the object has been modified; please apply your changes to the latest version and try again" in conflict.stderr
    )
    wrong = kubectl(
        "apply", "--validate=false", "-f", "-", stdin=(VIRTUAL_SERVICE % ("wrong", "x")).replace("[x]", "x"), ok=False
    )
    assert 'The VirtualService "wrong" is invalid' in wrong.stderr
    assert "spec.hosts in body must be of type array" in wrong.stderr


def test_explain(kubectl: Kubectl) -> None:
    assert "hosts\t<[]string>" in kubectl("explain", "vs.spec").stdout
    assert "KIND:       Deployment" in kubectl("explain", "deployment").stdout


def test_delete_waits_for_finalizers(kubectl: Kubectl) -> None:
    held = (VIRTUAL_SERVICE % ("held", "x")).replace("name: held", "name: held, finalizers: [lab.example.io/hold]")
    kubectl("create", "-f", "-", stdin=held)
    late = kubectl("delete", "vs", "held", "--timeout=1s", ok=False)
    assert "timed out waiting for the condition" in late.stderr
    kubectl("patch", "vs", "held", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    kubectl("wait", "--for=delete", "vs/held", "--timeout=5s")
    kubectl("get", "vs", "held", ok=False)


def test_wait_for_a_condition(kubectl: Kubectl) -> None:
    kubectl("run", "waited", "--image=nginx")
    late = kubectl("wait", "--for=condition=Ready", "pod/waited", "--timeout=1s", ok=False)
    assert "timed out" in late.stderr
    status = '{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}'
    kubectl("patch", "pod", "waited", "--subresource=status", "--type=merge", "-p", status)
    assert "condition met" in kubectl("wait", "--for=condition=Ready", "pod/waited", "--timeout=5s").stdout
    assert (
        "condition met"
        in kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/waited", "--timeout=5s").stdout
    )


def test_watch_prints_changes(kubectl: Kubectl, server: Server) -> None:
    program = shutil.which("kubectl") or pytest.skip("kubectl is not on the PATH")
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "HOME": str(server.state)}
    kubectl("create", "namespace", "seen")
    command = [program, "get", "vs", "-n", "seen", "-w", "--output-watch-events"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert watching.stdout
        deadline = time.monotonic() + 10
        lines: list[str] = []
        kubectl("apply", "-n", "seen", "-f", "-", stdin=VIRTUAL_SERVICE % ("looked-at", "one"))
        while not any("looked-at" in line for line in lines) and time.monotonic() < deadline:
            lines.append(watching.stdout.readline())
        kubectl("delete", "vs", "looked-at", "-n", "seen")
        while not any("DELETED" in line for line in lines) and time.monotonic() < deadline:
            lines.append(watching.stdout.readline())
        assert [line.split()[:2] for line in lines if "looked-at" in line] == [
            ["ADDED", "looked-at"],
            ["DELETED", "looked-at"],
        ]
    finally:
        watching.send_signal(signal.SIGINT)
        watching.wait(10)


def test_built_in_kinds_have_schemas(kubectl: Kubectl) -> None:
    typo = kubectl("apply", "-f", "-", stdin=(DEPLOYMENT % "typo").replace("replicas: 2", "replicsa: 2"), ok=False)
    assert 'unknown field "spec.replicsa"' in typo.stderr
    many = kubectl(
        "apply",
        "--validate=false",
        "-f",
        "-",
        stdin=(DEPLOYMENT % "many").replace("replicas: 2", "replicas: many"),
        ok=False,
    )
    assert "cannot unmarshal string into Go struct field Deployment.spec.replicas of type integer" in many.stderr
    told = kubectl("explain", "pod.spec.containers.ports").stdout
    assert "containerPort\t<integer>" in told
    assert "Number of port to expose on the pod's IP address" in told
