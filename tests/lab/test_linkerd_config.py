"""Real Envoy takes what every recorded case of Linkerd becomes."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from meshbdd.lab.compile import Compiled
from meshbdd.lab.sidecar.binary import find_envoy
from tests.golden.linkerd import PODS, cases, compiled_for

Json = dict[str, Any]


def _bootstrap(compiled: Compiled) -> Json:
    """A sidecar's configuration as a file: its route tables stand in its listeners instead of coming by ADS."""
    listeners = copy.deepcopy([*compiled.listeners.values()])
    for listener in listeners:
        for chain in listener["filter_chains"]:
            for entry in chain["filters"]:
                told = entry["typed_config"].pop("rds", None)
                if told is not None:
                    entry["typed_config"]["route_config"] = compiled.routes[told["route_config_name"]]
            chain.pop("transport_socket", None)  # its certificates come by SDS
    clusters = []
    for cluster in compiled.clusters.values():
        made = {name: value for name, value in cluster.items() if name != "transport_socket_matches"}
        if made.pop("eds_cluster_config", None):
            made |= {"type": "STATIC", "load_assignment": compiled.endpoints[cluster["name"]]}
        clusters.append(made)
    return {"static_resources": {"listeners": listeners, "clusters": clusters}}


def _validate(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "envoy.json"
    file.write_text(text)
    command = [str(find_envoy()), "--mode", "validate", "-c", str(file), "--log-level", "error"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("case", cases())
def test_envoy_takes_every_case(case: str, tmp_path: Path) -> None:
    """It builds listeners, routes, scripts and clusters of the server's sidecar, which has an inbound side too."""
    ran = _validate(json.dumps(_bootstrap(compiled_for(case, *PODS[0]))), tmp_path)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_envoy_refuses_a_broken_script(tmp_path: Path) -> None:
    whole = json.dumps(_bootstrap(compiled_for("002-httproute-weights-90-10", *PODS[0])))
    assert _validate(whole.replace("function envoy_on_request", "funktion envoy_on_request"), tmp_path).returncode != 0
