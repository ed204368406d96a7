"""Which CI job a run belongs to, from the variables that CI systems set; and the page "Environment" of the report."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from meshbdd import __version__


@dataclass(frozen=True, slots=True)
class Executor:
    """Who ran the tests; the fields of Allure's ``executor.json``."""

    name: str
    type: str
    url: str = ""
    buildOrder: int | None = None  # noqa: N815 - Allure's name
    buildName: str = ""  # noqa: N815
    buildUrl: str = ""  # noqa: N815

    @property
    def fields(self) -> dict[str, Any]:
        """What ``executor.json`` holds."""
        return {name: value for name, value in asdict(self).items() if value not in {"", None}}


def executor_of(environment: Mapping[str, str]) -> Executor | None:
    """The CI job that environment variables tell of; ``None`` on a developer's machine.

    The names are those that each system documents:
    https://docs.github.com/en/actions/reference/workflows-and-actions/variables
    https://docs.gitlab.com/ci/variables/predefined_variables/
    https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables
    https://learn.microsoft.com/azure/devops/pipelines/build/variables
    https://circleci.com/docs/variables/
    https://support.atlassian.com/bitbucket-cloud/docs/variables-and-secrets/
    https://buildkite.com/docs/pipelines/configure/environment-variables
    """
    known = environment.get
    if known("GITHUB_ACTIONS"):
        server = f"{known('GITHUB_SERVER_URL', 'https://github.com')}/{known('GITHUB_REPOSITORY', '')}"
        run = f"{server}/actions/runs/{known('GITHUB_RUN_ID', '')}"
        return _executor("GitHub Actions", "github", server, known("GITHUB_RUN_NUMBER"), known("GITHUB_WORKFLOW"), run)
    if known("GITLAB_CI"):
        url, job = known("CI_PROJECT_URL", ""), known("CI_JOB_NAME")
        return _executor("GitLab CI", "gitlab", url, known("CI_PIPELINE_IID"), job, known("CI_JOB_URL", ""))
    if known("JENKINS_URL"):
        job, number = known("JOB_NAME"), known("BUILD_NUMBER")
        return _executor("Jenkins", "jenkins", known("JENKINS_URL", ""), number, job, known("BUILD_URL", ""))
    if known("TF_BUILD"):
        server = f"{known('SYSTEM_COLLECTIONURI', '')}{known('SYSTEM_TEAMPROJECT', '')}"
        build = f"{server}/_build/results?buildId={known('BUILD_BUILDID', '')}"
        return _executor(
            "Azure Pipelines", "azure", server, known("BUILD_BUILDID"), known("BUILD_DEFINITIONNAME"), build
        )
    if known("CIRCLECI"):
        job, number, url = known("CIRCLE_JOB"), known("CIRCLE_BUILD_NUM"), known("CIRCLE_BUILD_URL", "")
        return _executor("CircleCI", "circleci", known("CIRCLE_REPOSITORY_URL", ""), number, job, url)
    if known("BITBUCKET_BUILD_NUMBER"):
        origin, number = known("BITBUCKET_GIT_HTTP_ORIGIN", ""), known("BITBUCKET_BUILD_NUMBER")
        return _executor(
            "Bitbucket Pipelines", "bitbucket", origin, number, None, f"{origin}/pipelines/results/{number}"
        )
    if known("BUILDKITE"):
        url, number = known("BUILDKITE_BUILD_URL", ""), known("BUILDKITE_BUILD_NUMBER")
        return _executor("Buildkite", "buildkite", url, number, known("BUILDKITE_PIPELINE_NAME"), url)
    return Executor("CI", "ci") if known("CI") else None


def _executor(name: str, kind: str, url: str, number: str | None, job: str | None, build: str) -> Executor:
    order = int(number) if number and number.isdecimal() else None
    shown = " ".join(part for part in (job, f"#{number}" if number else "") if part)
    return Executor(name, kind, url, order, shown, build)


def properties(facts: Mapping[str, str]) -> str:
    """The text of ``environment.properties``: where the run took place, and with what.

    Args:
        facts: What the run tells of itself; it comes first.
    """
    shown = {
        **facts,
        "meshbdd": __version__,
        "behave": version("behave"),
        "Python": platform.python_version(),
        "Machine": f"{platform.system()} {platform.machine()}",
    }
    return "".join(f"{name.replace(' ', '_')} = {_escape(value)}\n" for name, value in shown.items() if value)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")
