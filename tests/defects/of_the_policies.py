"""What a team itself says wrongly in its steps: policies, the scope of faults, how much was to be sent, how slow things are.

Such policies and faults are the steps' own; whatever resource stands in the mesh, a step writes over it, as its words demand.
"""

from __future__ import annotations

from tests.defects.defect import Defect
from tests.defects.scenarios import (
    ANSWERED,
    BACK,
    COUNTED,
    DATA_TURNED_AWAY,
    FAILURES_LOGGED,
    GRPC_AT_SERVER,
    LATENCY,
    LATENCY_LINKERD,
    LIMITED,
    LOGGED,
    ONLY,
    QUERIED,
    QUERIED_LINKERD,
    STRICT,
    TEST_CLIENT,
    TEST_SERVICE,
    TURNED_AWAY,
)

_LIMITS = "features/resilience/limits.feature"
_SCOPES = "features/faults/scopes.feature"
_DOWN = "features/faults/services_down.feature"
_GRPC = "features/faults/grpc.feature"
_INVENTORY = "features/faults/inventory_is_slow.feature"
_TELEMETRY = "features/telemetry/what_the_mesh_reports.feature"
_TLS = "features/security/mutual_tls.feature"
_LOAD = "features/load/steady_load.feature"
_ENOUGH = "features/load/as_many_as_it_takes.feature"

OF_THE_POLICIES = (
    Defect(
        "a limit that limits nothing",
        frozenset({LIMITED}),
        edits=((_LIMITS, "at most 2 concurrent", "at most 1000 concurrent"),),
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
        "faults that hit other calls",
        frozenset(
            {
                "A gRPC call fails by its status, though HTTP says 200",
                GRPC_AT_SERVER,
            }
        ),
        edits=(
            (_GRPC, "with gRPC status INTERNAL\n", "with gRPC status INTERNAL\n      | method | GET |\n"),
            (_GRPC, "      | inject at | server |\n", "      | inject at | server |\n      | method | GET |\n"),
        ),
    ),
    Defect(
        "permissive mTLS: in the steps",
        frozenset(
            {
                STRICT,
                TURNED_AWAY,
                ANSWERED,
                DATA_TURNED_AWAY,
                TEST_SERVICE,
                TEST_CLIENT,
            }
        ),
        edits=(
            (_TLS, "mutual TLS is strict", "mutual TLS is permissive"),
            ("features/security/test_data.feature", "mutual TLS is strict", "mutual TLS is permissive"),
        ),
    ),
    Defect(
        "wrong principal allowed: in a step",
        frozenset({ONLY}),
        edits=((_TLS, "only order-service may call", "only inventory-service may call"),),
    ),
    Defect(
        "fewer calls than were to be made",
        frozenset(
            {
                COUNTED,
                FAILURES_LOGGED,
                LOGGED,
                QUERIED,
                QUERIED_LINKERD,
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
                LATENCY,
                LATENCY_LINKERD,
            }
        ),
        edits=(
            (_INVENTORY, "slowed by 250ms", "slowed by 5s"),
            (_LOAD, "Checkout keeps up\n", "Checkout keeps up\n    Given payment-service is slowed by 5s\n"),
            # So much slower that no lateness of this machine could be the reason.
            (
                _ENOUGH,
                "Checkout is quick\n",
                "Checkout is quick\n    Given inventory-service is slowed by 1300ms\n    And payment-service is slowed by 5s\n",
            ),
            (_TELEMETRY, "in a histogram\n", "in a histogram\n    Given payment-service is slowed by 1300ms\n"),
            # A delay that Linkerd's callers meet on their way would be in the histogram of the fault backend.
            (
                _TELEMETRY,
                "in a histogram of responses\n",
                "in a histogram of responses\n    Given payment-service is slowed by 1300ms\n      | inject at | server |\n",
            ),
        ),
    ),
    Defect(
        "services stay away",
        frozenset(
            {
                "Checkout says that inventory is missing, and works again with it",
                BACK,
            }
        ),
        edits=(
            (_DOWN, 'inventory-service recovers\n    And "checkout"', '"checkout"'),
            (_DOWN, 'notification-service recovers\n    And "notify"', '"notify"'),
        ),
    ),
)
