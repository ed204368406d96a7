"""Fields that Envoy has and the packaged definitions have not."""

from __future__ import annotations

import subprocess
from pathlib import Path

from envoy.config.bootstrap.v3 import bootstrap_pb2

from meshbdd.lab.sidecar.binary import find_envoy
from meshbdd.lab.xds.resources import CLUSTER, Packer


def test_envoy_knows_the_interval_of_a_retry_budget(tmp_path: Path) -> None:
    """Envoy refuses a bootstrap with a field that it does not know, so the number is its own."""
    budget = {"budget_percent": {"value": 30}, "budget_interval": "2.500s", "min_retry_concurrency": 4}
    config = {"name": "a", "connect_timeout": "1s", "circuit_breakers": {"thresholds": [{"retry_budget": budget}]}}
    packed = Packer().pack(CLUSTER, "a", config)
    bare = {**config, "circuit_breakers": {"thresholds": [{"retry_budget": {**budget}}]}}
    bare["circuit_breakers"]["thresholds"][0]["retry_budget"].pop("budget_interval")
    assert packed.version != Packer().pack(CLUSTER, "a", bare).version
    bootstrap = bootstrap_pb2.Bootstrap()
    packed.body.Unpack(bootstrap.static_resources.clusters.add())
    (tmp_path / "bootstrap.pb").write_bytes(bootstrap.SerializeToString())
    command = [str(find_envoy()), "--mode", "validate", "-c", str(tmp_path / "bootstrap.pb")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr[-500:]
