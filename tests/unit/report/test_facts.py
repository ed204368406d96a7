"""CI systems are known by their variables; pod names give workloads; flags have meanings."""

from __future__ import annotations

import pytest

from meshbdd.evidence import Call
from meshbdd.report import flags
from meshbdd.report.executor import executor_of, properties
from meshbdd.response_flags import in_words
from meshbdd.scenario.calls import workload


@pytest.mark.parametrize(
    ("variables", "kind", "number", "url"),
    [
        ({"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7",
          "GITHUB_RUN_NUMBER": "12", "CI": "true"}, "github", 12, "https://github.com/a/b/actions/runs/7"),
        ({"GITLAB_CI": "true", "CI_PROJECT_URL": "https://g/x", "CI_PIPELINE_IID": "3", "CI_JOB_URL": "https://g/x/-/jobs/9"},
         "gitlab", 3, "https://g/x/-/jobs/9"),
        ({"JENKINS_URL": "https://j/", "BUILD_NUMBER": "5", "JOB_NAME": "x", "BUILD_URL": "https://j/job/x/5/"}, "jenkins", 5,
         "https://j/job/x/5/"),
        ({"TF_BUILD": "True", "SYSTEM_COLLECTIONURI": "https://d/o/", "SYSTEM_TEAMPROJECT": "p", "BUILD_BUILDID": "8"}, "azure", 8,
         "https://d/o/p/_build/results?buildId=8"),
        ({"CIRCLECI": "true", "CIRCLE_BUILD_NUM": "4", "CIRCLE_BUILD_URL": "https://c/4"}, "circleci", 4, "https://c/4"),
        ({"BITBUCKET_BUILD_NUMBER": "6", "BITBUCKET_GIT_HTTP_ORIGIN": "https://b/o/r"}, "bitbucket", 6,
         "https://b/o/r/pipelines/results/6"),
        ({"BUILDKITE": "true", "BUILDKITE_BUILD_NUMBER": "2", "BUILDKITE_BUILD_URL": "https://k/2"}, "buildkite", 2, "https://k/2"),
    ],
)  # fmt: skip
def test_ci_systems(variables: dict[str, str], kind: str, number: int, url: str) -> None:
    found = executor_of(variables)
    assert found is not None
    assert (found.type, found.buildOrder, found.buildUrl) == (kind, number, url)
    assert "" not in found.fields.values()


def test_no_ci_and_an_unknown_one() -> None:
    assert executor_of({}) is None
    assert executor_of({"CI": "1"}).type == "ci"  # type: ignore[union-attr]
    assert executor_of({"JENKINS_URL": "x", "BUILD_NUMBER": "no number"}).buildOrder is None  # type: ignore[union-attr]


def test_properties_keep_their_form() -> None:
    text = properties({"Default namespace": "shop", "Path": "C:\\x\ny", "Nothing": ""})
    assert text.splitlines()[:2] == ["Default_namespace = shop", "Path = C:\\\\x\\ny"]
    assert "Nothing" not in text


@pytest.mark.parametrize(
    ("pod", "name"),
    [
        ("order-service-1", "order-service"),
        ("order-service-6d4f8c9b7d-x2x9k", "order-service"),
        ("order-service-canary-78tcgb24d5-9tq4p", "order-service-canary"),
        ("client-hpptc2cmgd-crv7r", "client"),
        ("my-inventory-store", "my-inventory-store"),
        ("db-0", "db"),
        ("client", "client"),
        ("payment-v2", "payment-v2"),
    ],
)
def test_workloads_of_pods(pod: str, name: str) -> None:
    assert workload(pod) == name


def test_the_table_of_flags_says_what_they_mean() -> None:
    rows = flags.rows([Call("a", "b", 0, ("UF", "URX"), False, 3), Call("a", "b", 200, (), False, 9)])
    assert rows[1] == ["a", "b", "200", "-", "", "9"]
    assert rows[2][:4] == ["a", "b", "no answer", "UF,URX"]
    assert "no connection" in rows[2][4]
    assert "retries" in rows[2][4]


def test_a_fault_at_the_other_side_is_told() -> None:
    row = flags.rows([Call("a", "b", 503, (), True, 3)])[1]
    assert row[4] == "a fault was injected at the service's side"


def test_flags_in_a_sentence() -> None:
    assert in_words(["FI"]) == "response flag FI"
    assert in_words(["UH", "FI"]) == "response flags FI, UH: no healthy endpoint, all are ejected or there are none"
    assert in_words(["??"]) == "response flag ??"
