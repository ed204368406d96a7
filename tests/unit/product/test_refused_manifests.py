"""What an API server says of a manifest, told in a tester's words, with the line that is wrong."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.cluster import Cluster, Edit
from meshbdd.cluster.failures import ApiFailure
from meshbdd.cluster.refusals import RefusedObject, nearest_field, see_namespace, understood
from meshbdd.errors import BadInput, Place
from meshbdd.lab.admission import definition_of
from meshbdd.lab.admission.webhook import admission_hook
from meshbdd.lab.api.errors import ApiError
from meshbdd.mesh import Linkerd
from meshbdd.mesh.gate import Gate
from meshbdd.mesh.manifest import find_manifest, read_manifest
from meshbdd.mesh.manifest_lines import place_of
from meshbdd.rehearsal.stage import StageCluster
from meshbdd.scenario import Changes
from meshbdd.scenario.environment import Environment
from meshbdd.settings import Settings
from meshbdd.world import World

FILE = """# a comment
apiVersion: v1
kind: List
items:
- kind: VirtualService
  metadata: {name: other}
- apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata:
    name: a
    namespace: x
  spec:
    http:
    - route: []
    - fault:
        abort:
          percent: 5
      retrys: {}
---
kind: DestinationRule
metadata: {name: a}
"""
OBJECT = {"kind": "VirtualService", "apiVersion": "networking.istio.io/v1", "metadata": {"name": "a", "namespace": "x"}}


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", 7),
        ("metadata.namespace", 11),
        ("spec", 12),
        ("spec.http[1].fault.abort.percent", 17),
        ("spec.http[1].retrys", 18),
        ("spec.http[1].nowhere.at.all", 15),
        ("spec.http[7].route", 13),
    ],
)
def test_the_line_of_a_field(tmp_path: Path, path: str, line: int) -> None:
    (file := tmp_path / "m.yaml").write_text(FILE)
    place = place_of(file, OBJECT, path)
    assert (place.path, place.line) == (file, line)


def test_an_object_that_is_not_there_has_no_line(tmp_path: Path) -> None:
    (file := tmp_path / "m.yaml").write_text(FILE)
    assert place_of(file, {"kind": "Sidecar", "metadata": {"name": "a"}}, "spec").line is None


class _Api:
    """The parts of a cluster that a sentence may need; nobody may look at definitions where there is none."""

    def __init__(self, definition: dict[str, Any] | None) -> None:
        self._definition = definition

    def request(self, _method: str, path: str) -> str:
        if self._definition is None:
            raise ApiFailure(403, "Forbidden", "no")
        assert path.endswith("/virtualservices.networking.istio.io")
        return json.dumps(self._definition)

    def list(self, _kind: str) -> list[dict[str, Any]]:
        return [{"metadata": {"name": "xx"}}]


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (400, 'strict decoding error: unknown field "spec.http[0].retrys", unknown field "spec.a".',
         'VirtualService a has a field that nobody knows: spec.http[0].retrys.|did you mean "retries"?|spec.http[0].retrys'),
        (404, 'namespaces "x" not found.',
         'VirtualService a is for the namespace "x", which does not exist.|did you mean "xx"?|metadata.namespace'),
        (400, 'admission webhook "rev.validation.istio.io" denied the request: configuration is invalid: no hosts.',
         "The API refuses VirtualService a: configuration is invalid: no hosts.|correct the field|"),
        (422, "it is invalid: spec.http[0].timeout: Invalid value.",
         "The API refuses VirtualService a: it is invalid: spec.http[0].timeout: Invalid value.|correct the field|spec.http[0].timeout"),
        (403, "you may not", None),
        (500, "out of order", None),
    ],
)  # fmt: skip
def test_a_refusal_in_a_testers_words(status: int, said: str, told: str | None) -> None:
    failure = ApiFailure(status, "", f"The API refused POST /apis with {status}: {said}")
    error = understood(cast("Cluster", _Api(definition_of("VirtualService"))), failure, OBJECT)
    assert (f"{error.sentence}|{error.help}|{error.field}" if error else None) == told


def test_what_the_lab_alone_does_not_take_is_no_mistake_of_the_object() -> None:
    value = {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
        },
    }
    router = {
        "name": "envoy.filters.network.http_connection_manager",
        "subFilter": {"name": "envoy.filters.http.router"},
    }
    patch = {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "SIDECAR_INBOUND", "listener": {"filterChain": {"filter": router}}},
        "patch": {"operation": "INSERT_BEFORE", "value": value},
    }
    obj = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "lim", "namespace": "team"},
        "spec": {"configPatches": [patch]},
    }
    with pytest.raises(ApiError) as denied:
        admission_hook("CREATE", "envoyfilters.networking.istio.io", obj, None)
    failure = ApiFailure(400, "", f"The API refused POST /apis with 400: {denied.value.message}")
    error = understood(cast("Cluster", _Api(None)), failure, obj)
    assert error is not None
    assert error.sentence.startswith(
        "The lab cannot play an object that the mesh may well take: EnvoyFilter lim in team: spec."
    )
    assert (error.code, error.help) == (
        "MB0325",
        "run it on a cluster with the mesh, or leave the object out in the lab",
    )
    assert error.field.startswith("spec.configPatches[0].patch.value")


def test_without_a_definition_there_is_no_suggestion() -> None:
    failure = ApiFailure(400, "", 'unknown field "spec.http[0].retrys"')
    error = understood(cast("Cluster", _Api(None)), failure, OBJECT)
    assert error is not None
    assert error.help == "correct its name, or take it out"


def test_nothing_is_near_what_nobody_meant() -> None:
    schema = (definition_of("VirtualService") or {})["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert nearest_field(schema, "spec.http[0].route[0].destination.hst") == "host"
    assert nearest_field(schema, "spec.zzzzzz") is None
    assert nearest_field(schema, "spec.no.such[1].thing") is None


def test_a_namespace_that_a_world_does_not_have() -> None:
    world = [{"kind": "Namespace", "metadata": {"name": "xx"}}]
    with pytest.raises(RefusedObject, match='the namespace "x", which does not exist'):
        see_namespace(OBJECT, world)
    see_namespace(OBJECT, [])
    see_namespace(OBJECT, [*world, {"kind": "Namespace", "metadata": {"name": "x"}}])


class _Refusing(StageCluster):
    """A cluster that takes no object of another shape than its kind's."""

    def see_admitted(self, obj: dict[str, Any]) -> None:
        raise RefusedObject("MB0322", f"The API refuses {obj['kind']} {obj['metadata']['name']}: spec.rules.")


@pytest.mark.parametrize("rules", ["7", "x", "[7]"])
def test_the_api_is_asked_before_a_manifest_is_planned(tmp_path: Path, rules: str) -> None:
    """What a plan would stumble over is a mistake in the manifest, not a broken run."""
    (tmp_path / "m.yaml").write_text(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: x}\n"
        f"spec: {{parentRefs: [{{group: '', kind: Service, name: a, port: 80}}], rules: {rules}}}\n"
    )
    cluster = cast("Cluster", _Refusing((), "shop", lambda _: None))
    environment = Environment(
        Settings(namespace="shop"), cluster, Linkerd(cluster, "r1"), cast("Gate", None), "r1", "lab", lambda _: None
    )
    with pytest.raises(RefusedObject, match=r"spec\.rules") as refused:
        World(environment, tmp_path / "x.feature", ()).changes.apply_manifest("m.yaml")
    assert refused.value.place is not None
    assert refused.value.place.path == tmp_path / "m.yaml"


@pytest.mark.parametrize(("conflicts", "status", "tried"), [(2, 409, 3), (9, 409, 5), (9, 403, 1)])
def test_a_rehearsed_write_is_tried_again_where_somebody_wrote_first(conflicts: int, status: int, tried: int) -> None:
    asked: list[Any] = []

    def write(obj: Any, *, dry_run: bool) -> Any:
        assert dry_run
        asked.append(obj)
        if len(asked) <= conflicts:
            raise ApiFailure(status, "", "the object has been modified")
        return obj

    live = {"metadata": {"name": "a", "namespace": "b"}, "spec": {}}
    cluster = SimpleNamespace(find=lambda *_which: live, replace=write)
    changes = Changes.__new__(Changes)
    changes._environment = cast("Any", SimpleNamespace(cluster=cluster))
    edit = Edit("Service", "a", "b", ("spec", "x"), lambda _now: 1)
    with contextlib.nullcontext() if conflicts == 2 else pytest.raises(ApiFailure):
        changes._dry_run(edit)
    assert len(asked) == tried


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("kind: ConfigMap\nmetadata: {name: b}\n", 3, "MB0420"),
        ("metadata: {name: b}\nkind: Server\napiVersion: policy.linkerd.io/v1beta3\n", 3, "MB0421"),
    ],
)
def test_an_object_that_may_not_be_applied_is_told_with_its_line(
    text: str, line: int, code: str, tmp_path: Path
) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(f"# a comment\n---\n{text}")
    with pytest.raises(BadInput) as caught:
        read_manifest(file, "shop", "linkerd")
    assert (caught.value.code, caught.value.place) == (code, Place(file, line))


@pytest.mark.parametrize(
    ("kind", "mesh", "action"),
    [
        ("VirtualServce", "istio", "did you mean VirtualService?"),
        ("VirtualServce", "", "did you mean VirtualService?"),
        ("Servr", "linkerd", "did you mean Server?"),
        ("TCPRoute", "istio", "take it out of the manifest"),
        ("ServiceEntry", "linkerd", "take it out of the manifest"),
        ("ServiceProfile", "istio", "take it out of the manifest"),
        ("ServiceProfile", "linkerd", "write what it asks for into a route, or into annotations of the Service"),
    ],
)
def test_a_kind_that_is_like_one_that_may_be_applied(kind: str, mesh: str, action: str, tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(f"kind: {kind}\nmetadata: {{name: b}}\n")
    with pytest.raises(BadInput) as caught:
        read_manifest(file, "shop", mesh)
    assert (caught.value.code, caught.value.help) == ("MB0420", action)
    assert ("beside one Linkerd ignores routes" in caught.value.sentence) == ("into a route" in action)


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("m/canary.yml", 'did you mean "m/canary.yaml"?'),
        ("../m/canry.yaml", 'did you mean "../m/canary.yaml"?'),
        ("../../secrt.yaml", None),
        ("m/fault.yaml", None),
        ("n/canary.yaml", None),
    ],
)
def test_a_manifest_whose_name_is_like_that_of_another(name: str, action: str | None, tmp_path: Path) -> None:
    project = tmp_path / "project"
    for folder in ("m", "features"):
        (project / folder).mkdir(parents=True)
    for file in (project / "m" / "canary.yaml", project / "m" / "notes.txt", tmp_path / "secret.yaml"):
        file.write_text("kind: VirtualService")
    with pytest.raises(BadInput) as caught:
        find_manifest(name, project / "features" / "x.feature", project, "istio")
    assert caught.value.code == "MB0414"
    assert caught.value.help == (action or "write its path relative to the feature file or to the project's root")
