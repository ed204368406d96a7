"""The recorded experiments as one lab: each has a Service of its own, so that they run side by side."""

from __future__ import annotations

import copy
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml

from meshbdd.lab.addresses import private_side
from tests.fidelity.linkerd.application import CONTROL_PORT, HOLE_PORT
from tests.golden.linkerd import DATA
from tests.tools import OUTBOUND, LabUnderTest, until

Object = dict[str, Any]

ENDPOINT_PORT, REFUSED_PORT, FIRST_INBOUND_PORT = 9080, 9999, 8201
DEFAULT_POLICY = "config.linkerd.io/default-inbound-policy"
_PLAIN, _MESHED = {"linkerd.io/inject": "disabled"}, {"linkerd.io/inject": "enabled"}
# What plays the recording's endpoints: address → pod. 10.0.0.9 refuses (at a port where nothing listens).
_PLAYS = {"10.0.0.1": "stable", "10.0.0.2": "canary", "10.0.0.9": "stable"}


def experiments() -> list[Object]:
    """The recording."""
    found: list[Object] = json.loads((DATA / "behaviour.json").read_text())
    return found


def is_inbound(experiment: Object) -> bool:
    return str(experiment["id"]).startswith("in-")


def service_of(experiment: Object) -> str:
    return str(experiment["id"]).replace("/", "-")


def _meshed_hint(experiment: Object) -> bool:
    return str(experiment["id"]).endswith("-h2")


def _annotations(experiment: Object) -> dict[str, str]:
    """Of the pod. The proxy of the undeclared port was started with another default than its pod's annotation says.

    No injector does that. Here it is the port's policy that is another one, by a Server (``resources``).
    """
    return {} if _is_undeclared(experiment) else experiment.get("pod_annotations") or {}


def _is_undeclared(experiment: Object) -> bool:
    return str(experiment["id"]).startswith("in-undeclared")


def inbound_pod(experiment: Object) -> str:
    """The pod that an inbound experiment calls."""
    policy = _annotations(experiment).get(DEFAULT_POLICY)
    return f"inbound-{policy}" if policy else "inbound"


def _pod(name: str, namespace: str, annotations: dict[str, str], environment: dict[str, str], **more: Any) -> Object:
    container = {
        "name": "app", "image": "shop", "command": [sys.executable, "-m", "tests.fidelity.linkerd.application"],
        "ports": [{"containerPort": int(port)} for port in more.pop("declared")],
        "env": [{"name": key, "value": value} for key, value in environment.items()], **more,
    }  # fmt: skip
    account = "client" if name == "client" else "default"
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}, "annotations": annotations},
        "spec": {"serviceAccountName": account, "terminationGracePeriodSeconds": 0, "containers": [container]},
    }  # fmt: skip


def inbound_ports() -> dict[str, int]:
    """Each inbound experiment's own port, so that buckets and routes are its own."""
    found = [e["id"] for e in experiments() if is_inbound(e)]
    return {name: FIRST_INBOUND_PORT + number for number, name in enumerate(found)}


def _pods() -> list[Object]:
    made = [
        _pod("client", "other", _MESHED, {"PORTS": "8080"}, declared=[8080]),
        _pod("outside", "other", _PLAIN, {"PORTS": "8080"}, declared=[8080]),
        _pod("stable", "shop", _PLAIN, {"PORTS": "9080", "ALIAS": "10.0.0.1"}, declared=[9080]),
        _pod("canary", "shop", _PLAIN, {"PORTS": "9080", "ALIAS": "10.0.0.2"}, declared=[9080]),
        _pod("hole", "shop", _PLAIN, {"PORTS": "9081", "HOLE": "1"}, declared=[9081]),
        _pod("meshed", "shop", _MESHED, {"PORTS": "9080", "ALIAS": "10.0.0.1"}, declared=[9080]),
    ]
    ports = inbound_ports()
    by_pod: dict[str, list[Object]] = {}
    for experiment in experiments():
        if is_inbound(experiment):
            by_pod.setdefault(inbound_pod(experiment), []).append(experiment)
    for name, own in by_pod.items():
        annotations = {**_MESHED, **_annotations(own[0])}
        declared = [ports[e["id"]] for e in own if not _is_undeclared(e)]
        heard = [str(ports[e["id"]]) for e in own if not e["id"].startswith("in-down")]
        probed = [ports[e["id"]] for e in own if e["id"].startswith("in-probe")] or [int(heard[0])]
        first, last = ({"httpGet": {"path": "/ready", "port": port}} for port in (probed[0], probed[-1]))
        probes = {"readinessProbe": first, "livenessProbe": last}
        made.append(_pod(name, "shop", annotations, {"PORTS": ",".join(heard)}, declared=declared, **probes))
    return made


def _service(name: str, annotations: dict[str, str] | None = None) -> Object:
    meta = {"name": name, "namespace": "shop", "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"name": "http", "port": 80}]}}


def resources(experiment: Object) -> list[Object]:
    """An experiment's resources, as this lab's names and addresses have them."""
    text = json.dumps(experiment.get("resources") or [])
    found: list[Object] = json.loads(text)
    if is_inbound(experiment):
        number = inbound_ports()[experiment["id"]]
        for name in {r["metadata"]["name"] for r in found}:
            text = text.replace(f'"{name}"', f'"{name}-{number}"')
        found = json.loads(text)
        for resource in found:
            if resource["kind"] == "Server":
                resource["spec"] |= {"podSelector": {"matchLabels": {"app": "inbound"}}, "port": number}
    if _is_undeclared(experiment):
        found.append(_server(experiment))
    for resource in found:
        if resource["kind"] == "EgressNetwork":
            resource["metadata"]["namespace"] = "other"  # where this lab's client is
    if experiment.get("profile"):
        found.append(_profile(experiment))
    return found


def _server(experiment: Object) -> Object:
    number = inbound_ports()[experiment["id"]]
    return {
        "apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server",
        "metadata": {"name": f"undeclared-{number}", "namespace": "shop"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "inbound"}}, "port": number,
            "accessPolicy": experiment["pod_annotations"][DEFAULT_POLICY],
        },
    }  # fmt: skip


def _profile(experiment: Object) -> Object:
    """The profile was recorded in the form in which the proxy gets it; this is the resource that makes it."""
    said, name = experiment["profile"], f"{service_of(experiment)}.shop.svc.cluster.local"
    routes = []
    for number, route in enumerate(said["routes"]):
        made: Object = {
            "name": route.get("metricsLabels", {}).get("route") or f"route-{number}",
            "condition": {"pathRegex": route["condition"]["path"]["regex"]},
            "isRetryable": route.get("isRetryable", False),
        }
        if "timeout" in route:
            made["timeout"] = route["timeout"]
        if "responseClasses" in route:
            made["responseClasses"] = route["responseClasses"]
        routes.append(made)
    spec = {"routes": routes, "retryBudget": said["retryBudget"]}
    return {
        "apiVersion": "linkerd.io/v1alpha2", "kind": "ServiceProfile",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
    }  # fmt: skip


def _manifest() -> list[Object]:
    made: list[Object] = []
    for name in ("shop", "other"):
        meta = {"name": name, "annotations": {"linkerd.io/inject": "enabled"}}
        made.append({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    account = {"name": "client", "namespace": "other"}
    made.append({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    made += _pods()
    made += [_service(name) for name in ("b-stable", "b-canary", "b-refused", "b-empty")]
    for experiment in experiments():
        own = next((r for r in experiment.get("resources") or [] if r["kind"] == "Service"), {"metadata": {}})
        made.append(_service(service_of(experiment), own["metadata"].get("annotations")))
    return made


@dataclass
class World:
    """The running lab."""

    lab: LabUnderTest
    pods: dict[str, Object]
    skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def up(cls, name: str, folder: Path) -> World:
        manifest = folder / "experiments.yaml"
        manifest.write_text(yaml.safe_dump_all(_manifest()))
        project = Path(__file__).resolve().parents[3]
        lab = LabUnderTest.up(name, shop=False, clients=False, manifests=[manifest], mesh="linkerd", cwd=project)
        world = cls(lab, {pod["metadata"]["name"]: pod for pod in lab.cluster.list("Pod")})
        world._configure()
        return world

    def down(self) -> None:
        self.lab.down()

    def address(self, pod: str) -> str:
        return str(self.pods[pod]["status"]["podIP"])

    @property
    def way_out(self) -> str:
        """Where the meshed client's requests enter its sidecar."""
        return str(self.pods["client"]["metadata"]["annotations"][OUTBOUND])

    def metrics(self) -> dict[str, str]:
        """The page of Linkerd's metrics of each pod that has a proxy."""
        return {
            name: requests.get(f"http://{self.address(name)}:4191/metrics", timeout=60).text
            for name, pod in self.pods.items()
            if "linkerd.io/control-plane-ns" in pod["metadata"]["labels"]
        }

    def received(self, run: str) -> list[Object]:
        """What reached the applications under a run."""
        found: list[Object] = []
        for name, pod in self.pods.items():
            home = self.address(name)
            if "linkerd.io/control-plane-ns" in pod["metadata"]["labels"]:
                home = private_side(home)
            records = requests.get(f"http://{home}:{CONTROL_PORT}/{run}", timeout=5).json()
            found += [{**record, "pod": name} for record in records]
        return found

    def _configure(self) -> None:
        for name, addresses in (("b-stable", ["10.0.0.1"]), ("b-canary", ["10.0.0.2"]), ("b-refused", ["10.0.0.9"])):
            self._slice(name, [self._endpoint(address, meshed=False) for address in addresses])
        later: list[Object] = []
        for experiment in experiments():
            self._slice(service_of(experiment), self._endpoints(experiment))
            later += [r for r in resources(experiment) if r["kind"] != "Service"]
        # Age decides between routes, and the API counts in whole seconds.
        ages = sorted({r["metadata"].get("creationTimestamp", "") for r in later})
        for age in ages:
            for resource in later:
                if resource["metadata"].get("creationTimestamp", "") == age:
                    self._create(resource)
            second = int(time.time())
            until("the next second", lambda second=second: int(time.time()) > second)
        self._create(_service("marker-of-the-last-push"))
        for name, pod in self.pods.items():
            if "linkerd.io/control-plane-ns" in pod["metadata"]["labels"]:
                until(
                    f"the configuration of {name}", lambda name=name: "marker-of-the-last-push" in self.routes(name), 30
                )

    def allow_request_headers(self) -> None:
        """Install the control plane otherwise, so that requests may say their timeouts and retries themselves."""
        values = yaml.safe_dump({"policyController": {"additionalArgs": ["--allow-l5d-request-headers"]}})
        meta = {"name": "linkerd-config", "namespace": "linkerd"}
        self._create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"values": values}})
        until("the client's proxy to obey", lambda: '"obeys"' in self.routes("client"), 30)

    def settle(self) -> None:
        """Wait until the client's sidecar has drawn its conclusions from the last answer.

        Envoy's main thread ejects endpoints, and answers its admin interface; on a busy machine a next request may be
        quicker than it.
        """
        requests.get(f"http://{private_side(self.address('client'))}:15000/ready", timeout=15)

    def routes(self, pod: str) -> str:
        url = f"http://{private_side(self.address(pod))}:15000/config_dump?resource=dynamic_route_configs"
        return requests.get(url, timeout=5).text

    def _endpoints(self, experiment: Object) -> list[tuple[str, str, int]]:
        if is_inbound(experiment):
            return [(inbound_pod(experiment), self.address(inbound_pod(experiment)), inbound_ports()[experiment["id"]])]
        said = experiment.get("endpoints")
        addresses = ["10.0.0.1"] if said is None else [text.partition(":")[0] for text in said]
        return [self._endpoint(address, meshed=_meshed_hint(experiment)) for address in addresses]

    def _endpoint(self, address: str, *, meshed: bool) -> tuple[str, str, int]:
        """The pod that is told of, the address, and the port of an endpoint of the recording."""
        if meshed and address in {"10.0.0.8", "10.0.0.9"}:
            # Told to be a meshed pod's, at an address where no sidecar listens.
            return "meshed", self.address("hole"), HOLE_PORT if address == "10.0.0.8" else REFUSED_PORT
        pod = "meshed" if meshed else _PLAYS[address]
        return pod, self.address(pod), REFUSED_PORT if address == "10.0.0.9" else ENDPOINT_PORT

    def _slice(self, service: str, endpoints: list[tuple[str, str, int]]) -> None:
        for number, (pod, address, port) in enumerate(endpoints):
            target = {"kind": "Pod", "name": pod, "namespace": "shop"}
            body = {
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {
                    "name": f"{service}-{number}", "namespace": "shop",
                    "labels": {"kubernetes.io/service-name": service},
                },
                "addressType": "IPv4", "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
                "endpoints": [{"addresses": [address], "conditions": {"ready": True}, "targetRef": target}],
            }  # fmt: skip
            self._create(body)

    def _create(self, obj: Object) -> None:
        body = copy.deepcopy(obj)
        meta = body["metadata"]
        meta.pop("creationTimestamp", None)
        if body["kind"] == "NetworkAuthentication":
            for entry in body["spec"]["networks"]:
                if entry["cidr"] == "10.0.1.0/24":  # the recording's clients
                    entry["cidr"] = f"{self.address('outside')}/32"
        plural = body["kind"].lower()
        plural = f"{plural[:-1]}ies" if plural.endswith("y") else f"{plural}s"
        root = "/apis" if "/" in body["apiVersion"] else "/api"
        path = f"{root}/{body['apiVersion']}/namespaces/{meta['namespace']}/{plural}"
        self.lab.cluster.request("POST", path, body=body, query={"fieldValidation": "Strict"})
