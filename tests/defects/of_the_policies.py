"""Policies that are wrong or left out, faults that hit others, and services slower than anybody thought.

They stand where a team writes them, in its feature files, and are the same on every mesh.
"""

from __future__ import annotations

from tests.defects.defect import Defect
from tests.defects.scenarios import ONLY

_TIMEOUTS = "features/resilience/timeouts_and_retries.feature"
_BREAKER = "features/resilience/circuit_breaker.feature"
_LIMITS = "features/resilience/limits.feature"
_SCOPES = "features/faults/scopes.feature"
_DOWN = "features/faults/services_down.feature"
_GRPC = "features/faults/grpc.feature"
_INVENTORY = "features/faults/inventory_is_slow.feature"
_CANARY = "features/traffic/canary.feature"
_TELEMETRY = "features/telemetry/what_the_mesh_reports.feature"
_TLS = "features/security/mutual_tls.feature"
_LOAD = "features/load/steady_load.feature"
_ENOUGH = "features/load/as_many_as_it_takes.feature"
_OVERHEAD = "features/load/sidecar_overhead.feature"
_CHECKOUT = '\n      POST http://order-service/checkout\n\n      {"sku": "A1", "quantity": 1}\n'
_PAGE = "\n      GET http://order-service/version\n"

OF_THE_POLICIES = (
    Defect(
        "retries left out",
        frozenset(
            {
                "The mesh retries a payment that fails",
                "One timeout bounds all tries together",
                "Retries of the mesh hide a flaky payment",
                "Retries of the mesh hide a flaky payment by gRPC",
            }
        ),
        edits=(
            (_TIMEOUTS, "are retried up to 3 times", "are retried up to 1 times"),
            (_TIMEOUTS, "calls to payment-service are retried up to 5 times\n    And ", ""),
            (_GRPC, "calls to payment-service are retried up to 5 times\n    And ", ""),
        ),
    ),
    Defect(
        "timeout too long",
        frozenset({"The mesh gives up on a slow payment in time"}),
        edits=((_TIMEOUTS, "time out after 500ms", "time out after 5s"),),
    ),
    Defect(
        "breakers that fit nothing",
        frozenset(
            {
                "The circuit opens, tries again, and closes when payment is well again",
                "An open circuit fails fast",
                "After the circuit has closed, payments go through",
                "A few errors do not open the circuit",
            }
        ),
        edits=(
            (_BREAKER, "errors for 3s", "errors for 60s"),
            (_BREAKER, "5 consecutive errors for 5s", "2 consecutive errors for 5s"),
            (_BREAKER, "5 consecutive errors for 4s", "500 consecutive errors for 4s"),
            (
                _BREAKER,
                'Then the circuit to payment-service opens within 2s\n    When "charge" is sent\n',
                'When "charge" is sent\n',
            ),
        ),
    ),
    Defect(
        "no bulkhead",
        frozenset({"Requests beyond the limit are turned away at once", "A slow payment does not slow other pages"}),
        edits=(
            (_LIMITS, "at most 2 concurrent", "at most 1000 concurrent"),
            (_LIMITS, _PAGE, _CHECKOUT),
        ),
    ),
    Defect(
        "faults that hit others too",
        frozenset(
            {
                "A fault for one caller",
                "A fault for one header",
                "A fault for another method leaves this one alone",
                "A fault for one path",
                "A client outside the mesh meets no fault of the mesh",
                "A gRPC fault for one caller, and for one header of its calls",
            }
        ),
        edits=(
            (_SCOPES, "      | called by | order-service |\n", ""),
            (_SCOPES, "      | header X-User | qa |\n", ""),
            (_SCOPES, "| method | GET |", "| method | POST |"),
            (_SCOPES, "| path | /charge |", "| path | /healthz |"),
            (_DOWN, '"charge" is sent from outside the mesh', '"charge" is sent'),
            (_GRPC, "      | header X-User | qa     |\n", ""),
        ),
    ),
    Defect(
        "gRPC calls that hardly ever fail",
        frozenset(),
        # Of five calls mostly none is hit, which is told as such.
        unsure=frozenset(
            {
                "A gRPC call fails by its status, though HTTP says 200",
                "A gRPC fault at the server is in its access log",
            }
        ),
        edits=(
            (_GRPC, "fails 100% with gRPC status INTERNAL", "fails 1% with gRPC status INTERNAL"),
            (_GRPC, "fails 100% with gRPC status UNAVAILABLE", "fails 1% with gRPC status UNAVAILABLE"),
        ),
    ),
    Defect(
        "permissive where it should be strict",
        frozenset(
            {
                "Under strict mutual TLS the shop works, and plaintext is rejected",
                "A client outside the mesh is turned away under strict mutual TLS",
                "A client outside the mesh is answered while mutual TLS is permissive",
                "Test data from outside is turned away under strict mutual TLS",
                "Test data comes from outside, through one service that is left permissive",
                "Test data comes from a client in the mesh, and nothing is left open",
            }
        ),
        edits=(
            (_TLS, "mutual TLS is strict", "mutual TLS is permissive"),
            ("features/security/test_data.feature", "mutual TLS is strict", "mutual TLS is permissive"),
        ),
    ),
    Defect(
        "wrong caller allowed",
        frozenset({ONLY}),
        edits=((_TLS, "only order-service may call", "only inventory-service may call"),),
    ),
    Defect(
        "fewer calls than were to be made",
        frozenset(
            {
                "Requests are counted by caller and callee",
                "Failing calls are in the access log",
                "Calls that succeed are in the access log",
                "Prometheus knows the requests",
                "Prometheus knows the responses by caller and callee",
            }
        ),
        edits=((_TELEMETRY, "is sent 10 times", "is sent 2 times"), (_TELEMETRY, "is sent 5 times", "is sent 2 times")),
    ),
    Defect(
        "slower than anybody thought",
        frozenset(
            {
                "A little slowness does no harm",
                "Checkout keeps up",
                "Checkout is quick",
                "Latency is in a histogram",
                "Latency is in a histogram of responses",
                "The sidecar hardly slows a small page",
            }
        ),
        edits=(
            (_INVENTORY, "slowed by 250ms", "slowed by 5s"),
            (_LOAD, "Checkout keeps up\n", "Checkout keeps up\n    Given payment-service is slowed by 5s\n"),
            (_ENOUGH, "Checkout is quick\n", "Checkout is quick\n    Given payment-service is slowed by 5s\n"),
            (_TELEMETRY, "in a histogram\n", "in a histogram\n    Given payment-service is slowed by 1500ms\n"),
            # A delay that Linkerd's callers meet on their way would be in the histogram of the fault backend.
            (
                _TELEMETRY,
                "in a histogram of responses\n",
                "in a histogram of responses\n    Given payment-service is slowed by 1500ms\n      | inject at | server |\n",
            ),
            (
                _OVERHEAD,
                '    When "version" is sent',
                '    Given order-service is slowed by 100ms\n    When "version" is sent',
            ),
        ),
    ),
    Defect(
        "a start that takes longer than it may",
        frozenset(),
        unsure=frozenset({"The sidecar hardly delays a new pod"}),
        edits=((_OVERHEAD, "less than 2s", "less than 1ms"),),
    ),
    Defect(
        "half of the customers see the canary",
        frozenset(
            {
                "A tenth of the customers see the canary",
                "All traffic goes to the stable version",
                "The canary gets a copy, and the customer the stable answer",
            }
        ),
        edits=(
            (_CANARY, "90% to stable and 10% to canary", "50% to stable and 50% to canary"),
            (_CANARY, "100% to stable and 0% to canary", "50% to stable and 50% to canary"),
        ),
    ),
    Defect(
        "the copy goes to the stable version",
        frozenset(),
        unsure=frozenset({"The canary gets a copy, and the customer the stable answer"}),
        edits=((_CANARY, "is mirrored to canary", "is mirrored to stable"),),
    ),
    Defect(
        "services stay away",
        frozenset(
            {
                "Checkout says that inventory is missing, and works again with it",
                "A service that is down takes no connection, until it is back",
            }
        ),
        edits=(
            (_DOWN, 'inventory-service recovers\n    And "checkout"', '"checkout"'),
            (_DOWN, 'notification-service recovers\n    And "notify"', '"notify"'),
        ),
    ),
)
