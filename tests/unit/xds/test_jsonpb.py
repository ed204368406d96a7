"""EnvoyFilter values are read as Istio reads them; what is expected here, golang/protobuf v1.5.4 answered to the same JSON."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2

from meshbdd.lab.xds import jsonpb
from meshbdd.lab.xds.messages import MessageError, as_dict

FAULT, CLUSTER, EXTENSION = fault_pb2.HTTPFault, cluster_pb2.Cluster, extension_pb2.TypedExtensionConfig
GOOGLE = "type.googleapis.com/google.protobuf."


def delay(**fields: Any) -> dict[str, Any]:
    return {"delay": fields}


@pytest.mark.parametrize(
    ("message", "value", "expected"),
    [
        # Durations are Go's.
        (FAULT, delay(fixed_delay="500ms"), delay(fixed_delay="0.500s")),
        (FAULT, delay(fixed_delay="1m30s"), delay(fixed_delay="90s")),
        (FAULT, delay(fixedDelay="1h"), delay(fixed_delay="3600s")),
        (FAULT, delay(fixed_delay="-3s"), delay(fixed_delay="-3s")),
        # Of a oneof the field that is declared last counts, wherever it stands.
        (FAULT, {"abort": {"grpc_status": 3, "http_status": 500}}, {"abort": {"grpc_status": 3}}),
        (FAULT, {"abort": {"http_status": 500, "header_abort": {}}}, {"abort": {"header_abort": {}}}),
        # Of two spellings the camel case.
        (FAULT, {"abort": {"httpStatus": 400, "http_status": 500}}, {"abort": {"http_status": 400}}),
        # Nothing said, and something said that is empty.
        (FAULT, {"abort": None, "delay": {}, "headers": None}, {"delay": {}}),
        (FAULT, {"headers": [None]}, {"headers": [{}]}),
        # Numbers in quotes, and whole numbers however written.
        (FAULT, {"abort": {"http_status": " 503 "}}, {"abort": {"http_status": 503}}),
        (FAULT, {"max_active_faults": 5.0}, {"max_active_faults": 5}),
        (FAULT, {"abort": {"http_status": "null"}}, {"abort": {"http_status": 0}}),
        # An enum by name, or by a number, which need not be known.
        (FAULT, delay(percentage={"denominator": "MILLION"}), delay(percentage={"denominator": "MILLION"})),
        (FAULT, delay(percentage={"denominator": 5}), delay(percentage={"denominator": 5})),
        (CLUSTER, {"metadata": {"filter_metadata": {"x": {"y": [1, None, {"z": True}]}}}},
         {"metadata": {"filter_metadata": {"x": {"y": [1.0, None, {"z": True}]}}}}),
        (EXTENSION, {"typed_config": {"@type": f"{GOOGLE}Duration", "value": "500ms"}},
         {"typed_config": {"@type": f"{GOOGLE}Duration", "value": "0.500s"}}),
        (EXTENSION, {"typed_config": {"@type": f"{GOOGLE}UInt32Value", "value": "7"}},
         {"typed_config": {"@type": f"{GOOGLE}UInt32Value", "value": 7}}),
    ],
)  # fmt: skip
def test_what_is_taken(message: Any, value: dict[str, Any], expected: dict[str, Any]) -> None:
    assert as_dict(jsonpb.read(message, value)) == expected


@pytest.mark.parametrize(
    ("message", "value", "path"),
    [
        (FAULT, {"abort": "foo"}, "abort"),
        (FAULT, {"abort": ["a"]}, "abort"),
        (FAULT, {"abort": []}, "abort"),
        (FAULT, {"delay": "5s"}, "delay"),
        (FAULT, delay(fixed_delay="5"), "delay.fixed_delay"),
        (FAULT, delay(fixed_delay=5), "delay.fixed_delay"),
        (FAULT, delay(fixed_delay="1d"), "delay.fixed_delay"),
        (FAULT, delay(percentage="50"), "delay.percentage"),
        (FAULT, delay(percentage={"denominator": "FOO"}), "delay.percentage.denominator"),
        (FAULT, delay(percentage={"denominator": "0"}), "delay.percentage.denominator"),
        (FAULT, {"abort": {"http_status": 0.5}}, "abort.http_status"),
        (FAULT, {"abort": {"http_status": -1}}, "abort.http_status"),
        (FAULT, {"abort": {"http_status": "5e2"}}, "abort.http_status"),
        (FAULT, {"abort": {"http_status": True}}, "abort.http_status"),
        (FAULT, {"abort": {"http_status": "9" * 5000}}, "abort.http_status"),
        (FAULT, {"max_active_faults": 2**32}, "max_active_faults"),
        (FAULT, {"max_active_faults": 10**400}, "max_active_faults"),
        (FAULT, {"disable_downstream_cluster_stats": "true"}, "disable_downstream_cluster_stats"),
        (FAULT, {"upstream_cluster": 5}, "upstream_cluster"),
        (FAULT, {"upstream_cluster": "\ud800"}, "upstream_cluster"),
        (FAULT, {"headers": {}}, "headers"),
        (FAULT, {"headers": [{"name": 1}]}, "headers[0].name"),
        (CLUSTER, {"metadata": "foo"}, "metadata"),
        (CLUSTER, {"metadata": {"filter_metadata": {"x": 1}}}, "metadata.filter_metadata.x"),
        (EXTENSION, {"typed_config": {}}, "typed_config.@type"),
        (EXTENSION, {"typed_config": {"@type": "x/y.Z"}}, "typed_config.@type"),
        (EXTENSION, {"typed_config": {"@type": f"{GOOGLE}Duration"}}, "typed_config.value"),
        (EXTENSION, {"typed_config": {"@type": f"{GOOGLE}Timestamp", "value": "now"}}, "typed_config.value"),
    ],
)
def test_what_is_refused_with_its_path(message: Any, value: dict[str, Any], path: str) -> None:
    with pytest.raises(MessageError) as refused:
        jsonpb.read(message, value, drop_unknown=True)
    assert str(refused.value).startswith(f"{path}: ")


def test_a_message_becomes_what_yaml_can_write() -> None:
    value = {"name": "x", "typed_config": {"@type": f"{GOOGLE}Duration", "value": "1s"}}
    assert yaml.safe_load(yaml.safe_dump(as_dict(jsonpb.read(EXTENSION, value)))) == value


def test_an_unknown_field_is_refused_or_passed_over() -> None:
    value = {"abort": {"http_status": 500, "nonsense": {"a": 1}}}
    with pytest.raises(MessageError, match=r"^abort\.nonsense: "):
        jsonpb.read(FAULT, value)
    assert as_dict(jsonpb.read(FAULT, value, drop_unknown=True)) == {"abort": {"http_status": 500}}
