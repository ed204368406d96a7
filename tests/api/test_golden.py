"""The server against recorded answers of Kubernetes' own API server (v1.32.13), case by case.

The data in ``data/`` are recordings of k8s.io/apiextensions-apiserver v0.32.13 with etcd; nothing in them is edited.
"""

from __future__ import annotations

import json
import re
from typing import Any

import golden
import pytest
from conftest import Server

# where the lab answers differently, and why; a case that agrees again fails the test, so that this list stays true
DIFFERENT = {
    "crud": {
        "create: wrong apiVersion": "no warning besides the refusal",
        "get: Accept protobuf only": "the refusal is JSON, not protobuf",
        "unknown method FOO on an object": "refused by the HTTP parser",
        "core group path": "the lab has the core group",
        "built-in resource, not acceptable": "one wording of 406 for all resources",
        "auth: anonymous /version allowed": "another Go version",
        "get after Foreground delete": "the lab collects garbage",
        "finalizer removed by merge patch: the answer is the last state of the object": "the lab collects garbage",
        "setup: PATCH details": "the lab collects garbage",
        "list with an expired continue token (storage compacted): 410 with a fresh inconsistent continue token": "not compacted here",
        "list with the inconsistent continue token of that 410": "not compacted here",
        "list at an exact resourceVersion that is compacted": "not compacted here",
        "list at a resourceVersion that is compacted, with limit and no match rule (read as Exact)": "not compacted here",
        "list at a resourceVersion that is compacted, no limit, no match rule (read as NotOlderThan)": "not compacted here",
        "list at a resourceVersion that is compacted, NotOlderThan": "not compacted here",
        "CRD create": "an empty column list is kept; established at once",
        "resource right after its CRD was created": "served at once",
        "CRD get: conditions NamesAccepted and Established": "the status has another manager",
        "CRD delete": "gone at once",
    },
    "update": {
        "put with another apiVersion": "no warning besides the refusal",
        "put of a missing object with a resourceVersion (no create on update)": "names a version of another object",
        "schema: string items expected, numbers given": "no warning besides the refusal",
        "schema: CEL rule": "CEL is not evaluated",
        "status: put on /status takes the status and ignores spec and labels; generation stays": "labels stay with their manager",
        "status: put on the main resource without status keeps the status": "follows from the one before",
        "status: get of /status gives the whole object": "follows from the one before",
        "ownerReferences with two controllers": "the value is shown as JSON, not as a Go struct",
    },
    "apply": {},
    "tables": {
        "PartialObjectMetadataList list": "the writes during the watches before it are not replayed",
        "table of a built-in resource (CRDs)": "no description of the column",
    },
}
LEAST = {"crud": 160, "update": 75, "apply": 60, "tables": 25}


@pytest.mark.parametrize("recording", sorted(DIFFERENT))
def test_answers_as_recorded(recording: str, fresh_server: Server) -> None:
    session = fresh_server.session()
    replay = golden.Replay(fresh_server.url, fresh_server.token, fresh_server.viewer, session)
    for name in ("team-a", "team-b", "going"):
        finalizers = ["lab.example.io/hold"] if name == "going" else []
        made = session.post(
            f"{fresh_server.url}/api/v1/namespaces", json={"metadata": {"name": name, "finalizers": finalizers}}
        )
        assert made.status_code == 201
    session.delete(f"{fresh_server.url}/api/v1/namespaces/going")
    del session.headers["Authorization"]
    wrong: dict[str, list[str]] = {}
    agreed = 0
    for case in golden.load(f"{recording}.json"):
        if case["response"]["status"] is None or isinstance(case["response"].get("body"), list):
            continue
        if "in the future" in case["name"]:
            found = replay.differences(case, replay.send(case, timeout=10))
        elif case["name"].startswith("put of a missing object with a resourceVersion"):
            found = ["its version is that of an object that is not there"]
        else:
            found = replay.differences(case, replay.send(case))
        if found:
            wrong[case["name"]] = found
        else:
            agreed += 1
    unexpected = {name: found for name, found in wrong.items() if name not in DIFFERENT[recording]}
    assert not unexpected
    assert not set(DIFFERENT[recording]) - set(wrong), "these agree by now: take them off the list"
    assert agreed >= LEAST[recording]


WATCH_DIFFERENT = {
    "storage compacted, but the resourceVersion is still in the watch cache: replayed": "not compacted here",
}


def _slow(case: dict[str, Any]) -> bool:
    seconds = re.search(r"timeoutSeconds=(\d+)", case["request"]["query"])
    return bool(seconds) and int(seconds[1]) > 1


def _learn_versions(replay: golden.Replay, query: str) -> None:
    """A version named in a query that no answer told is that of a list made just before the watch."""
    for name in re.findall(r"<rv\d+>", query):
        if name not in replay.names:
            headers = {"Authorization": f"Bearer {replay.token}"}
            listed = replay.session.get(f"{replay.url}/apis/networking.istio.io/v1/virtualservices", headers=headers)
            replay.names[name] = listed.json()["metadata"]["resourceVersion"]


def _frames(replay: golden.Replay, case: dict[str, Any]) -> list[str]:
    wanted = case["response"]["body"]
    with replay.send(case, stream=True) as answer:
        assert answer.status_code == 200, answer.text
        for write in case.get("during", []):
            assert replay.send(write).status_code == write["status"]
        frames: list[Any] = []
        for line in answer.iter_lines(chunk_size=1):
            frames.append(json.loads(line))
            if "timeoutSeconds" not in case["request"]["query"] and len(frames) == len(wanted):
                break
    return replay.compare(frames, wanted, "")


def test_watches_as_recorded(fresh_server: Server) -> None:
    session = fresh_server.session()
    del session.headers["Authorization"]
    replay = golden.Replay(fresh_server.url, fresh_server.token, fresh_server.viewer, session)
    wrong: dict[str, list[str]] = {}
    watches = 0
    for case in golden.load("watch.json"):
        _learn_versions(replay, case["request"]["query"])
        body = case["response"].get("body")
        if _slow(case):
            for write in case.get("during", []):
                replay.send(write)
            continue
        if isinstance(body, list) and "watch=false" not in case["request"]["query"]:
            watches += 1
            found = _frames(replay, case)
        elif isinstance(body, list):
            found = []  # a list, recorded as one frame
        else:
            found = replay.differences(case, replay.send(case))
        if found:
            wrong[case["name"]] = found
    assert {name: found for name, found in wrong.items() if name not in WATCH_DIFFERENT} == {}
    assert watches >= 20
