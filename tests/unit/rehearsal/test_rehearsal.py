"""Feature files are understood without a mesh: the same sentences as in a run, and doubts that no run would tell."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import meshbdd.steps
import pytest
import yaml

from meshbdd.errors import BadInput, Place
from meshbdd.rehearsal import Report, manifests_of, rehearse
from meshbdd.sense import Finding, Severity
from meshbdd.settings import Settings
from tests.golden.meaning import DATA

assert meshbdd.steps

WORLD = [d for d in yaml.safe_load_all((DATA / "world.yaml").read_text("utf-8")) if d]

HEAD = '''
Feature: F
  Background:
    Given the request "checkout":
      """
      POST http://order-service/checkout

      {}
      """

  Scenario: S
'''

Rehearse = Callable[..., Report]


def _admit(obj: dict[str, Any]) -> None:
    if "refuse me" in str(obj):
        raise BadInput("MB0990", "Istio refuses it.", help="correct the field")


@pytest.fixture
def rehearsed(tmp_path: Path) -> Rehearse:
    def run(steps: str, **manifests: str) -> Report:
        (tmp_path / "x.feature").write_text(HEAD + textwrap.indent(textwrap.dedent(steps).strip("\n"), "    ") + "\n")
        for name, text in manifests.items():
            (tmp_path / f"{name}.yaml").write_text(textwrap.dedent(text))
        return rehearse(tmp_path / "x.feature", WORLD, Settings(project=tmp_path), "shop", _admit)

    return run


def _found(report: Report) -> list[str]:
    return [f"{f.code} {getattr(place, 'line', None)} {f.sentence}" for f, place in report.sorted()]


SOUND = [
    """
    Given the request "outside":
      \"\"\"
      GET http://elsewhere.example/
      \"\"\"
    When "outside" is sent
    Then client calls payment-service at most 4 times per request
    """,
    """
    Given payment-service fails 100% with status 500
      | called by | order-service |
    When "checkout" is sent 100 times by 5 users
    Then more than 95% of requests succeed
    And payment-service recovers
    """,
    """
    Given payment-service fails 100%
    And inventory-service is slowed by 250ms for 50% of requests
    When "checkout" is sent
    Then the response field "count" of "checkout" is unchanged
    """,
    """
    When "checkout" is sent 10 times
    Then every response has status 200
    """,
]


@pytest.mark.parametrize("steps", SOUND)
def test_a_sound_scenario_is_left_in_peace(rehearsed: Rehearse, steps: str) -> None:
    report = rehearsed(steps)
    assert _found(report) == []
    assert not report.not_understood


@pytest.mark.parametrize(
    ("steps", "line", "words"),
    [
        ("Given paymnt-service fails 100%", 12, 'MB0405 12 Service "paymnt-service" does not exist'),
        ("Given payment-service.shp fails 100%", 12, 'MB0404 12 Namespace "shp" does not exist'),
        ("Given payment-service fail 100%", 12, "did you mean «{service} fails {percent}»?"),
        ("Given payment-service is slowd by 2s", 12, "did you mean «{service} is slowed by {duration}»?"),
        ("Given the sky falls", 12, "MB0508 12 The step «the sky falls» is not understood: no step says this."),
        ("Given payment-service fails 50", 12, "MB0101 12 '50' is not a percentage. Write it like 50%."),
        ("Given payment-service fails 1% with status 700", 12, "MB0107 12 '700' is not an HTTP status."),
        ("Given payment-service fails 1%\n  | header x-user | qä |", 12, "MB0134 12 No request has the header x-user with"),
        ("Given payment-service fails 1%\n  | path | /chärge |", 12, "MB0120 12 '/chärge' is no path of a request."),
        ("Given payment-service fails 1%\n  | path | /a b |", 12, "MB0120 12 '/a b' is no path of a request."),
        ("Given payment-service fails 1%\n  | methd | GET |", 12, "MB0111 12 'methd' is no option of this step."),
        ("Given payment-service fails 1%\n  | status | soon |", 12, "MB0107 12 'soon' is not an HTTP status."),
        (f'When "checkout" is sent at 9/s for {"9" * 400}h', 12, "MB0130 12 9999999999999999999999999999999999999999… is"),
        (f'When "checkout" is sent {"9" * 5000} times', 12, "MB0106 12 '9999999999999999999999999999999999999999…' is"),
        (f"Given calls to payment-service are retried up to {'9' * 5000} times", 12, "MB0106 12 '99999999999999999999"),
        (
            'Then payment-service rejects plaintext\nAnd the query "sum(a_total)" is at least 1',
            13,
            "MB0654 13 «the query",
        ),
        (
            ('Given payment-service fails 100%\nAnd the request "x":\n  """\n  GET http://order-service/\n  """\n'
            'Then the response field "count" of "x" is unchanged'),
            17,
            'MB0537 17 The request "x" is defined after the first change',
        ),
        ("Given payment-service fails 1%\n  | header X-User | qa |\n  | header x-user | dev |", 12,
         "MB0112 12 The option 'header x-user' stands twice."),
        ('When "checkuot" is sent', 12, 'MB0502 12 There is no request "checkuot"; defined are: "checkout".'),
        ('Given the manifest "none.yaml" is applied', 12, 'MB0414 12 There is no manifest "none.yaml"'),
        ("Then order-servic calls payment-service at most 4 times per request", 12, 'MB0405 12 Service "order-servic" does'),
        ("Then the circuit to paymentservice is open", 12, 'MB0405 12 Service "paymentservice" does not exist'),
        ('Then a slow paymnt-service does not slow "checkout"', 12, 'MB0405 12 Service "paymnt-service" does not exist'),
        ("Then the access log of paymnt-service has at least 1 requests with status 200", 12, 'MB0405 12 Service "paymnt-'),
        ("Then the certificate of paymnt-service is valid for at least 1h", 12, 'MB0405 12 Service "paymnt-service" does'),
        ("Then the trace context reaches paymnt-service", 12, 'MB0405 12 Service "paymnt-service" does not exist'),
        ("Then calls from order-servic to payment-service use mutual TLS", 12, 'MB0405 12 Service "order-servic" does not'),
        (
            'Given the request "x":\n  """\n  GET http://paymnt-service/\n  """\nWhen "x" is sent',
            16,
            'MB0525 16 The request "x" asks the host "paymnt-service"',
        ),
        ("Given payment-service recovers", 12, "MB0507 12 payment-service.shop cannot recover"),
        ('Given the request "odd":\n  """\n  GET nowhere\n  """', 14, "MB0501 14 The request \"odd\": 'nowhere' is no address"),
    ],
)  # fmt: skip
def test_what_a_run_would_refuse_is_refused(rehearsed: Rehearse, steps: str, line: int, words: str) -> None:
    report = rehearsed(steps)
    (told,) = _found(report)
    assert words in told
    assert report.not_understood
    assert report.sorted()[0][0].object.endswith(f"x.feature:{line}")


def test_all_mistakes_are_found_at_once_and_none_follows_from_another(rehearsed: Rehearse) -> None:
    report = rehearsed("""
        Given paymnt-service fails 100%
        And payment-service fails 50
        When "checkuot" is sent
        And paymnt-service recovers
        """)
    assert [told[:9] for told in _found(report)] == ["MB0405 12", "MB0101 13", "MB0502 14"]


def test_a_request_that_was_refused_is_not_missed(rehearsed: Rehearse) -> None:
    report = rehearsed("""
        Given the request "bad":
          \"\"\"
          POST http://order-service/checkout
          X-User: qä
          \"\"\"
        When "bad" is sent
        And "worse" is sent
        """)
    assert [told[:9] for told in _found(report)] == ["MB0501 15", "MB0502 18"]


@pytest.mark.parametrize(
    ("steps", "codes"),
    [
        (
            "Given paymnt-service fails 100%\nWhen payment-service recovers",
            ["MB0405"],
        ),  # what it does to a misspelt one
        ("Given payment-service fails 50\nWhen payment-service.shop recovers", ["MB0101"]),
        ('Given the manifest "no.yaml" is applied\nWhen payment-service recovers', ["MB0990"]),
        ('Given the manifest "no.yaml" is applied\nWhen the manifest "no.yaml" is removed', ["MB0990"]),
        ("Given inventory-service fails 50\nWhen payment-service recovers", ["MB0101", "MB0507"]),
        ('When the manifest "no.yaml" is removed\nThen inventory-service recovers', ["MB0506", "MB0507"]),
    ],
)
def test_nothing_to_take_back_follows_from_the_step_that_would_have_done_it(
    rehearsed: Rehearse, steps: str, codes: list[str]
) -> None:
    no = FAULT.replace("{name: pay}", "{name: pay, annotations: {x: refuse me}}")
    assert [told[:6] for told in _found(rehearsed(steps, no=no))] == codes


def test_what_is_doubtful_or_refused_in_one_scenario_excuses_no_other(rehearsed: Rehearse) -> None:
    report = rehearsed("""
        Given payment-service fails 5% with status 500
        When "checkout" is sent 10 times
        Then more than 99% of requests succeed

      Scenario: nothing to take back
        When payment-service recovers

      Scenario: misspelt
        Given paymnt-service fails 100%

      Scenario: once more than there is
        Given payment-service fails 100%
        When payment-service recovers
        And payment-service recovers
    """)
    assert [told[:9] for told in _found(report)][-3:] == ["MB0507 17", "MB0405 20", "MB0507 25"]
    assert report.not_understood


LIMITED = "Feature: F\n  Scenario: S\n    Given payment-service accepts at most 2 concurrent requests\n"


@pytest.mark.parametrize(
    ("tags", "mesh", "possible"),
    [("", "auto", True), ("", "linkerd", False), ("@linkerd", "istio", False), ("@istio", "linkerd", True),
     ("@istio @linkerd", "linkerd", False), ("@istio @linkerd", "istio", True)],
)  # fmt: skip
def test_a_scenario_is_rehearsed_on_the_mesh_that_it_demands(
    tmp_path: Path, tags: str, mesh: str, possible: bool
) -> None:
    (tmp_path / "x.feature").write_text(f"{tags}\n{LIMITED}")
    settings = Settings(project=tmp_path, mesh=mesh)
    told = _found(rehearse(tmp_path / "x.feature", WORLD, settings, "shop", _admit))
    assert [line.partition(",")[0] for line in told] == (
        []
        if possible
        else ["MB0432 4 «payment-service.shop accepts at most 2 concurrent requests» is not possible here"]
    )


def _ambient(*, waypoint: bool) -> list[dict[str, Any]]:
    labels = {"istio.io/dataplane-mode": "ambient", **({"istio.io/use-waypoint": "way"} if waypoint else {})}
    programmed = {"conditions": [{"type": "Programmed", "status": "True"}]}
    shop = {"name": "payment-service", "namespace": "shop"}
    return [
        {"kind": "Namespace", "metadata": {"name": "shop", "labels": labels}},
        {
            "kind": "Service",
            "metadata": shop,
            "spec": {"selector": {"app": "payment-service"}, "ports": [{"port": 80}]},
        },
        {"kind": "Gateway", "metadata": {"name": "way", "namespace": "shop"}, "status": programmed},
    ]


@pytest.mark.parametrize(
    ("waypoint", "words", "wrong"),
    [
        (False, "MB0433 3 payment-service.shop is in Istio's ambient mode and has no waypoint", True),
        (
            True,
            "MB0434 3 payment-service.shop is in Istio's ambient mode, and its HTTP passes the waypoint way.shop",
            False,
        ),
    ],
)
def test_what_a_run_would_skip_is_told_and_no_mistake(tmp_path: Path, words: str, waypoint: bool, wrong: bool) -> None:
    (tmp_path / "x.feature").write_text("Feature: F\n  Scenario: S\n    Given payment-service fails 100%\n")
    report = rehearse(tmp_path / "x.feature", _ambient(waypoint=waypoint), Settings(project=tmp_path), "shop", _admit)
    (told,) = _found(report)
    assert told.startswith(words)
    assert (report.errors, report.not_understood) == (wrong, wrong)


FAULT = """
    apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {name: pay}
    spec:
      hosts: [payment-service]
      http: [{fault: {abort: {httpStatus: 503, percentage: {value: 100}}}, retries: {attempts: 3}, route: [{destination: {host: payment-service}}]}]
    """


def test_a_manifest_in_a_step_is_judged_where_it_is_applied(rehearsed: Rehearse, tmp_path: Path) -> None:
    report = rehearsed(
        """
        Given the manifest "pay.yaml" is applied
        When "checkout" is sent
        """,
        pay=FAULT,
    )
    ((finding, place),) = report.sorted()
    assert (finding.code, finding.object, place and place.line) == ("MB0920", "VirtualService shop/pay", 12)
    assert manifests_of(tmp_path / "x.feature", Settings(project=tmp_path)) == {tmp_path / "pay.yaml": {()}}


TOLD = """
    kind: Service
    apiVersion: v1
    metadata: {name: NAME}
    spec: {selector: {app: payment-service}, ports: [{name: http, port: 80}, {name: admin, port: 81}]}
    ---
    kind: HTTPRoute
    apiVersion: gateway.networking.k8s.io/v1
    metadata: {name: order-service}
    spec: {parentRefs: [{name: NAME, kind: Service, group: core, port: 80}], rules: [{backendRefs: [{name: NAME, port: 80}]}]}
    """


@pytest.mark.parametrize(
    ("name", "host", "told"),
    [
        ("payment-service", "payment-service:81", ["MB0454"]),
        ("payment-service", "order-service:81", ["MB0454", "MB0528"]),
        ("payment-service", "nobody", ["MB0454", "MB0525"]),
    ],
)
def test_what_a_manifest_that_is_skipped_would_have_brought_is_no_mistake_of_a_later_step(
    tmp_path: Path, name: str, host: str, told: list[str]
) -> None:
    steps = f'''
    Given the request "there":
      """
      GET http://{host}/
      """
    And the manifest "told.yaml" is applied
    When "there" is sent
    '''
    (tmp_path / "x.feature").write_text(HEAD + steps)
    (tmp_path / "told.yaml").write_text(textwrap.dedent(TOLD.replace("NAME", name)))
    settings = Settings(project=tmp_path, mesh="linkerd")
    report = rehearse(tmp_path / "x.feature", WORLD, settings, "shop", _admit)
    assert [finding.code for finding, _ in report.sorted()] == told


def test_what_a_scenario_applies_before_a_manifest_is_known(rehearsed: Rehearse, tmp_path: Path) -> None:
    names = ("pay", "b", "c")
    pay, b, c = (tmp_path / f"{name}.yaml" for name in names)
    given = ["pay applied", "c applied", "pay removed", "b applied", "c applied"]
    steps = [f'Given the manifest "{name}.yaml" is {done}' for name, done in (step.split() for step in given)]
    rehearsed("\n".join(steps), **dict.fromkeys(names, FAULT))
    found = manifests_of(tmp_path / "x.feature", Settings(project=tmp_path))
    assert found == {pay: {()}, c: {(pay,), (b,)}, b: {(c,)}}


def test_a_mistake_in_a_manifest_is_told_with_the_step_that_applies_it(rehearsed: Rehearse, tmp_path: Path) -> None:
    report = rehearsed('Given the manifest "odd.yaml" is applied', odd="kind: VirtualServce\nmetadata: {name: a}\n")
    [(finding, place)] = report.sorted()
    assert (finding.code, place) == ("MB0420", Place(tmp_path / "odd.yaml", 1))
    assert report.steps == {finding: Place(tmp_path / "x.feature", 12)}
    whole = Report()
    whole.take(report)
    assert whole.steps == report.steps


def test_a_manifest_that_istio_refuses(rehearsed: Rehearse) -> None:
    report = rehearsed(
        'Given the manifest "pay.yaml" is applied',
        pay=FAULT.replace("{name: pay}", "{name: pay, annotations: {x: refuse me}}"),
    )
    assert _found(report) == ["MB0990 12 Istio refuses it."]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ('When "checkout" is sent 20 times\nThen more than 95% of requests succeed', "even at 20 of 20 the true share may lie anywhere from 86.1%"),
        ('When "checkout" is sent 58 times\nThen at least 95% of requests succeed', "58 requests cannot carry"),
        ('When "checkout" is sent\nThen at most 5% of requests fail', "1 request cannot carry"),
    ],
)  # fmt: skip
def test_a_count_that_cannot_carry_its_claim(rehearsed: Rehearse, steps: str, words: str) -> None:
    (told,) = _found(rehearsed(steps))
    assert told.startswith("MB0927 13")
    assert words in told


@pytest.mark.parametrize(
    "steps",
    [
        'When "checkout" is sent 100 times\nThen at least 95% of requests succeed',
        'When "checkout" is sent 20 times\nThen every response has status 200',
        'When "checkout" is sent 20 times\nThen the response arrives within 3s',
    ],
)
def test_a_count_that_can(rehearsed: Rehearse, steps: str) -> None:
    assert _found(rehearsed(steps)) == []


TIMEOUT = """
    apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {name: stock}
    spec:
      hosts: [inventory-service]
      http: [{timeout: 3s, route: [{destination: {host: inventory-service}}]}]
    """


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ("Given inventory-service is slowed by 2s\nWhen \"checkout\" is sent\nThen order-service gives up on inventory-service.shop within 3s", 1),
        ("Given inventory-service is slowed by 3s\nWhen \"checkout\" is sent\nThen order-service gives up on inventory-service within 3s", 1),
        ("Given inventory-service is slowed by 5s\nWhen \"checkout\" is sent\nThen order-service gives up on inventory-service within 3s", 0),
        ("Given payment-service is slowed by 1s\nWhen \"checkout\" is sent\nThen order-service gives up on inventory-service within 3s", 0),
        ("Given calls to inventory-service time out after 3s\nAnd inventory-service is slowed by 2s", 1),
        ("Given calls to inventory-service time out after 3s\nAnd inventory-service is slowed by 4s", 0),
        ("Given calls to inventory-service time out after 3s\nAnd calls to inventory-service are retried up to 3 times\nAnd inventory-service is slowed by 2s", 1),
        ("Given calls to inventory-service time out after 3s\nAnd calls to inventory-service are retried up to 3 times\nAnd inventory-service is slowed by 1s\nAnd inventory-service fails 100%", 0),
        ("Given calls to inventory-service time out after 3s\nAnd calls to inventory-service are retried up to 1 times\nAnd inventory-service is slowed by 1s\nAnd inventory-service fails 100%", 1),
        ("Given the manifest \"stock.yaml\" is applied\nAnd inventory-service is slowed by 2s for 50% of requests", 1),
        ("Given the manifest \"stock.yaml\" is applied\nAnd inventory-service is slowed by 4s", 0),
        ("Given the manifest \"stock.yaml\" is applied\nAnd inventory-service is slowed by 2s\nWhen \"checkout\" is sent\nThen the response status is 200", 0),
        ("Given calls to inventory-service time out after 3s\nAnd inventory-service is slowed by 2s\nWhen \"checkout\" is sent\nThen the response status is 504", 1),
        ("Given inventory-service is slowed by 2s\nWhen \"checkout\" is sent\nThen the response status is 200\nAnd order-service gives up on inventory-service within 3s", 1),
        ("Given calls to inventory-service time out after 3s\nAnd inventory-service is slowed by 2s\nWhen \"checkout\" is sent 5 times\nThen every response has status 200", 0),
        ("Given calls to inventory-service time out after 3s\nAnd inventory-service is slowed by 2s\nWhen \"checkout\" is sent\nThen the response arrives within 4s", 0),
        ("Given calls to inventory-service time out after 3s\nAnd inventory-service is slowed by 2s\nWhen \"checkout\" is sent\nThen the response takes at least 2s", 0),
        ("Given calls to inventory-service time out after 3s\nAnd inventory-service is slowed by 2s\nWhen \"checkout\" is sent 50 times\nThen the p99 latency is below 4s", 0),
        ("Given calls to inventory-service time out after 3s\nAnd inventory-service is slowed by 2s\nWhen \"checkout\" is sent 50 times\nThen at most 5% of requests fail", 0),
    ],
)  # fmt: skip
def test_a_delay_that_nobodys_timeout_notices(rehearsed: Rehearse, steps: str, found: int) -> None:
    told = [line for line in _found(rehearsed(steps, stock=TIMEOUT)) if line.startswith("MB0926")]
    assert len(told) == found, told


_GIVEN_UP = 'When "checkout" is sent\nThen order-service gives up on inventory-service within '


@pytest.mark.parametrize(
    ("rule", "steps", "found"),
    [
        ("timeout: 10s, retries: {attempts: 2, perTryTimeout: 400ms}", "is slowed by 3s\n" + _GIVEN_UP + "500ms", 0),
        ("timeout: 10s, retries: {attempts: 2, perTryTimeout: 400ms}", "is slowed by 3s", 0),
        ("timeout: 10s, retries: {attempts: 2, perTryTimeout: 400ms}", "is slowed by 400ms", 1),
        ("timeout: 10s, retries: {attempts: 0, perTryTimeout: 400ms}", "is slowed by 3s", 1),
        ("timeout: 10s, retries: {attempts: 2, perTryTimeout: 400ms}", "is slowed by 1s\n" + _GIVEN_UP + "1100ms", 0),
        ("timeout: 10s, retries: {attempts: 2, perTryTimeout: 400ms}", "is slowed by 1s\n" + _GIVEN_UP + "2s", 1),
        ("timeout: 1s, retries: {attempts: 3}", "is slowed by 400ms\nAnd inventory-service fails 100% with status 503\n" + _GIVEN_UP + "1100ms", 0),
        ("timeout: 1s, retries: {attempts: 3}", "is slowed by 400ms\nAnd inventory-service.shop fails 100%", 0),
        ("timeout: 1s, retries: {attempts: 1}", "is slowed by 400ms\nAnd inventory-service fails 100%", 1),
        ("timeout: 1s, retries: {attempts: 3}", "is slowed by 400ms\n" + _GIVEN_UP + "1100ms", 1),
        ("timeout: 1s", "is slowed by 400ms\nAnd calls to inventory-service time out after 300ms", 0),
        ("timeout: 10s", "is slowed by 3s\n" + _GIVEN_UP + "2s", 0),
        ("timeout: 1s", "is slowed by 3s\n" + _GIVEN_UP + "5s", 1),
        ("match: [{uri: {prefix: /slow}}], timeout: 10s, route: [{destination: {host: inventory-service}}]}, {timeout: 1s", "is slowed by 3s", 0),
        ("match: [{uri: {prefix: /slow}}], timeout: 10s, route: [{destination: {host: inventory-service}}]}, {timeout: 4s", "is slowed by 3s", 1),
    ],
)  # fmt: skip
def test_any_limit_that_notices_a_delay_will_do(rehearsed: Rehearse, rule: str, steps: str, found: int) -> None:
    manifest = TIMEOUT.replace("timeout: 3s", rule)
    report = rehearsed(f'Given the manifest "stock.yaml" is applied\nAnd inventory-service {steps}', stock=manifest)
    told = [line for line in _found(report) if line.startswith("MB0926")]
    assert len(told) == found, told
    claimed = _GIVEN_UP in steps  # the rule may end the calls nevertheless
    assert all(("nobody has to give up" in line) != claimed for line in told)


def test_a_timeout_as_a_safety_net_does_not_take_a_claim_its_meaning(rehearsed: Rehearse) -> None:
    steps = f"Given calls to inventory-service time out after 5s\nAnd inventory-service is slowed by 3s\n{_GIVEN_UP}2s"
    assert _found(rehearsed(steps)) == []


@pytest.mark.parametrize(
    "claim",
    [
        "the response status is 200 or 201",
        'the response field "status" is "confirmed"',
        "the access log of inventory-service has at least 1 requests with status 200",
        "order-service calls inventory-service at most 1 times per request",
    ],
)
def test_what_becomes_of_calls_with_a_delay_within_the_timeout_is_shown(rehearsed: Rehearse, claim: str) -> None:
    slow = "Given calls to inventory-service time out after 3s\nAnd inventory-service is slowed by 2s\n"
    report = rehearsed(f'{slow}When "checkout" is sent\nThen {claim}')
    assert not any(line.startswith("MB0926") for line in _found(report))


@pytest.mark.parametrize(("limit", "found"), [("1500ms", 0), ("2500ms", 1)])
def test_who_calls_the_caller_may_give_up_as_well(rehearsed: Rehearse, limit: str, found: int) -> None:
    steps = f"""Given calls to inventory-service time out after 5s
    And calls to order-service time out after {limit}
    And inventory-service is slowed by 2s
    When "checkout" is sent
    Then the response status is 504"""
    assert sum(line.startswith("MB0926") for line in _found(rehearsed(steps))) == found


def test_each_delay_has_the_claims_that_are_made_while_it_lasts(rehearsed: Rehearse) -> None:
    first = 'Given inventory-service is slowed by 500ms\nWhen "checkout" is sent\nThen the response status is 200\n'
    then = "When inventory-service recovers\nAnd inventory-service is slowed by SECONDS\nAnd " + _GIVEN_UP.removeprefix(
        "When "
    )
    for seconds, found in (("5s", 0), ("1s", 1)):
        report = rehearsed(first + then.replace("SECONDS", seconds) + "2s")
        assert sum(line.startswith("MB0926") for line in _found(report)) == found


SUBSET = """
    apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {name: order}
    spec:
      host: order-service
      subsets: [{name: stable, labels: {version: stable}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]
    """
ROUTE = """
    apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {name: order}
    spec: {hosts: [order-service], http: [{route: [{destination: {host: order-service, subset: stable}}]}]}
    """
_RULE, _ROUTE, _SENT = (
    'the manifest "rule.yaml" is applied',
    'the manifest "route.yaml" is applied',
    '"checkout" is sent',
)


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        (f"Given {_RULE}\nAnd {_ROUTE}\nWhen {_SENT}", []),
        (f"Given {_RULE}\nAnd payment-service fails 100%\nAnd {_ROUTE}\nWhen {_SENT}", []),
        (f"Given {_RULE}\nAnd traffic to order-service is split 90% to stable and 10% to canary\nWhen {_SENT}", []),
        (f"Given {_RULE}\nWhen {_SENT}", ["MB0941 12"]),
        (f"Given {_RULE}", ["MB0941 12"]),
        (f"Given {_RULE}\nWhen {_SENT}\nGiven {_ROUTE}\nWhen {_SENT}", ["MB0941 12"]),
        (f'Given {_RULE}\nGiven the manifest "rule.yaml" is removed\nWhen {_SENT}', ["MB0941 12"]),
    ],
)
def test_a_subset_may_be_defined_before_a_route_leads_to_it(rehearsed: Rehearse, steps: str, found: list[str]) -> None:
    told = [line[:9] for line in _found(rehearsed(steps, rule=SUBSET, route=ROUTE)) if "MB0941" in line]
    assert told == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no feature"),
        ("Scenario: without a feature\n  Given nothing\n", "is no feature file"),
        ("Feature x\n  Scenario: S\n", "is no feature file: No feature found («Feature x»)."),
        (
            "Feature: F\n  Scenario: S\n    Given a\n      | b |\n      | c | d |\n",
            "is no feature file: Malformed table at line 5.",
        ),
    ],
)
def test_a_file_that_is_no_feature(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "x.feature"
    file.write_text(text)
    report = rehearse(file, WORLD, Settings(project=tmp_path), "shop", _admit)
    (told,) = _found(report)
    assert words in told
    assert report.not_understood


@pytest.mark.parametrize(
    ("service", "kind", "found"),
    [("order-service", "", 1), ("order-service.shop", "", 1), ("order-service", "Content-Type: application/grpc", 0),
     ("payment-service", "", 0)],
)  # fmt: skip
def test_a_grpc_status_for_a_request_that_is_no_grpc(rehearsed: Rehearse, service: str, kind: str, found: int) -> None:
    request = f'''    Given the request "c":
      """
      POST http://order-service/checkout
      {kind or "X-Kind: none"}
      """
    And {service} fails 100% with gRPC status UNAVAILABLE
    When "c" is sent
'''
    assert len([line for line in _found(rehearsed(request)) if line.startswith("MB0928")]) == found


def test_scenarios_do_not_see_each_other_and_outlines_are_rehearsed_row_by_row(tmp_path: Path) -> None:
    file = tmp_path / "x.feature"
    file.write_text("""
Feature: F
  Scenario Outline: <service>
    Given <service> fails 100%
    And the manifest "pay.yaml" is applied

    Examples:
      | service           |
      | inventory-service |
      | paymnt-service    |
""")
    (tmp_path / "pay.yaml").write_text(textwrap.dedent(FAULT).replace("retries: {attempts: 3}, ", ""))
    report = rehearse(file, WORLD, Settings(project=tmp_path), "shop", _admit)
    assert [told.partition(".")[0] for told in _found(report)] == [
        'MB0405 4 Service "paymnt-service" does not exist in namespace "shop"'
    ]


LATER = [
    # what a project's own step sends, and what one that is not understood would, nobody knows
    'When "checkuot" is sent\nThen the response status is 200',
    (
        'When enough "checkout" requests are sent\nThen at least 50% of requests succeed\nWhen "checkout" is sent\n'
        "Then the response status is 200"
    ),
    (
        'When "checkout" keeps being sent at 5/s\nAnd enough "checkout" requests are sent\nThen at least 50% of requests succeed\n'
        "When the load stops\nThen at least 50% of requests succeed"
    ),
    "Given the sky falls\nThen the response status is 200",
]


@pytest.mark.parametrize("steps", LATER)
def test_what_is_sent_and_judged_is_left_in_peace(rehearsed: Rehearse, steps: str) -> None:
    codes = {told.partition(" ")[0] for told in _found(rehearsed(steps))}
    assert codes.isdisjoint({"MB0618", "MB0520"})


@pytest.mark.parametrize(
    ("steps", "line", "words"),
    [
        ("Then the response status is 200", 12, "MB0618 12 the response status is 200: no request was sent, so"),
        (
            "Then at least 90% of requests succeed",
            12,
            "MB0618 12 at least 90% of requests succeed: no request was sent",
        ),
        ("Then the request is turned away", 12, "MB0618 12 the request is turned away: no request was sent"),
        (
            'When enough "checkout" requests are sent',
            12,
            'MB0520 12 Enough "checkout" requests were to be sent, but no',
        ),
        (
            'When enough "checkout" requests are sent\nAnd "checkout" is sent\nThen the response status is 200',
            12,
            'MB0520 12 Enough "checkout"',
        ),
        (
            (
                'When "checkout" is sent\nThen the response status is 200\nWhen enough "checkout" requests are sent\n'
                "Then order-service calls payment-service at most 9 times per request"
            ),
            14,
            'MB0520 14 Enough "checkout"',
        ),
    ],
)
def test_a_run_that_could_be_neither_red_nor_green_is_told(
    rehearsed: Rehearse, steps: str, line: int, words: str
) -> None:
    report = rehearsed(steps)
    (told,) = _found(report)
    assert words in told
    assert report.errors
    assert not report.not_understood
    assert report.sorted()[0][0].object.endswith(f"x.feature:{line}")


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("paymnt-service.shop", True),
        ("paymnt-service.shop.svc", True),
        ("paymnt-service.shop.svc.cluster.local", True),
        ("payment-service.shop", False),
        ("payment-service.elsewhere", False),  # the world has no such namespace, so that it may be any host
        ("www.shop.example", False),
        ("known.shop", False),
    ],
)
def test_a_host_in_a_namespace_of_the_world_is_a_service_of_it(
    rehearsed: Rehearse, monkeypatch: pytest.MonkeyPatch, host: str, named: bool
) -> None:
    monkeypatch.setattr("meshbdd.rehearsal.features.resolves", lambda host: host == "known.shop")
    steps = (
        f'Given the request "x":\n  """\n  GET http://{host}/\n  """\nWhen "x" is sent\nThen the response status is 200'
    )
    found = _found(rehearsed(steps))
    assert [told.partition(" ")[0] for told in found] == ["MB0525"] * named


def test_the_shipped_features_are_sound(project: Path) -> None:
    from meshbdd.mesh.manifest import read_objects

    files = [file for room in ("shop", "vantage") for file in sorted((project / "manifests" / room).glob("*.yaml"))]
    shop = [obj for file in files for obj in read_objects(file, "shop")]
    told = {}
    for file in sorted((project / "features").rglob("*.feature")):
        found = _found(rehearse(file, shop, Settings(project=project), "shop", _admit))
        told |= {file.name: found} if found else {}
    assert told == {}


def test_a_finding_without_a_place_gets_the_one_that_is_found_later() -> None:
    finding = Finding("DestinationRule shop/base", "MB0933", Severity.WARNING, "Another one is for it too.", "")
    step = Place(Path("b.feature"), 9)
    whole, rehearsed = Report(), Report()
    for report, places in ((whole, [None]), (rehearsed, [step, Place(Path("b.feature"), 12), None])):
        for place in places:
            report.add(finding, place)
    whole.take(rehearsed)
    assert whole.places == rehearsed.places == {finding: step}
