"""Mutual TLS and authorization at the callee's sidecar."""

from __future__ import annotations

from tests.fidelity.calls import Send
from tests.fidelity.checks import flags, reached, saw, saw_part, status
from tests.fidelity.rows import Row
from tests.fidelity.table.faults import PAYMENT
from tests.fidelity.table.headers import IDENTITY
from tests.fidelity.world import OUTSIDE, STRANGER

MTLS = "Mutual TLS"
ORDER = "http://order-service.shop/"


def authentication(mode: str, name: str = "default", namespace: str = "shop", more: str = "") -> str:
    """A PeerAuthentication."""
    return (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{mtls: {{mode: {mode}}}{more}}}\n---\n"
    )


CLIENT_TLS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: payment}
spec: {host: payment-service, trafficPolicy: {tls: {mode: MODE}}}
"""

XFCC = "x-forwarded-client-cert"
_PLAIN = (status(200), saw(XFCC, None))
_MUTUAL = (status(200), saw_part(XFCC, f"URI={IDENTITY}"))
_REFUSED = (status(0), reached(0))

ROWS = (
    Row(
        MTLS, "PERMISSIVE takes mutual TLS from sidecars and plaintext from others", "golden 01, §3",
        ((Send(), _MUTUAL), (Send(PAYMENT, OUTSIDE), _PLAIN)),
        resources=authentication("PERMISSIVE"), mutant=("PERMISSIVE", "STRICT"),
    ),
    Row(
        MTLS, "STRICT resets plaintext before any answer", "golden 44, §3",
        ((Send(), _MUTUAL), (Send(PAYMENT, OUTSIDE, times=3), _REFUSED)),
        case="44-pa-namespace-strict",
    ),
    Row(
        MTLS, "the root namespace's policy is the mesh's", "golden 45, §3",
        ((Send(), _MUTUAL), (Send(PAYMENT, OUTSIDE), _REFUSED)),
        case="45-pa-mesh-strict",
    ),
    Row(
        MTLS, "a namespace's policy beats the mesh's", "§3",
        ((Send(PAYMENT, OUTSIDE), _PLAIN),),
        resources=authentication("STRICT", "mesh", "istio-system") + authentication("PERMISSIVE"),
        mutant=("PERMISSIVE", "UNSET"),
    ),
    Row(
        MTLS, "DISABLE: sidecars call each other in plaintext", "golden 46, §2.6",
        ((Send(), _PLAIN), (Send(PAYMENT, OUTSIDE), _PLAIN), (Send(PAYMENT, STRANGER), _PLAIN)),
        case="46-pa-namespace-disable",
    ),
    Row(
        MTLS, "a port's own mode beats its workload's", "golden 47, §3",
        ((Send(ORDER, OUTSIDE), (status(200),)), (Send(PAYMENT, OUTSIDE), _REFUSED)),
        case="47-pa-workload-port", mutant=("8080: {mode: PERMISSIVE}", "8080: {mode: STRICT}"),
    ),
    Row(
        MTLS, "portLevelMtls names the workload's port, not the Service's", "§3, trap 36",
        ((Send(ORDER, OUTSIDE), _REFUSED),),
        resources=authentication("STRICT", more=", selector: {matchLabels: {app: order-service}}, portLevelMtls: {80: {mode: PERMISSIVE}}"),
        mutant=("80: {mode", "8080: {mode"),
    ),
    Row(
        MTLS, "a workload's policy binds that workload alone", "golden 48, §3",
        ((Send(ORDER, OUTSIDE), _REFUSED), (Send(PAYMENT, OUTSIDE), _PLAIN)),
        case="48-pa-workload-strict",
    ),
    Row(
        MTLS, "a selector in the root namespace selects nothing", "§3",
        ((Send(PAYMENT, OUTSIDE), _PLAIN),),
        resources=authentication("STRICT", "payment", "istio-system", ", selector: {matchLabels: {app: payment-service}}"),
        mutant=("namespace: istio-system", "namespace: shop"),
    ),
    Row(
        MTLS, "of two policies of one scope the older counts", "§3, trap 36",
        ((Send(PAYMENT, OUTSIDE), _REFUSED),),
        resources=authentication("STRICT", "z") + authentication("PERMISSIVE", "a"), apart=True,
        mutant=("mode: STRICT", "mode: DISABLE"),
    ),
    Row(
        MTLS, "a DestinationRule with tls DISABLE overrides automatic mutual TLS", "golden 39, §2.6",
        ((Send(), _PLAIN),),
        case="39-dr-tls-disable",
    ),
    Row(
        MTLS, "against a STRICT port that is 503 at the caller", "§3, trap 35",
        ((Send(times=3), (status(503), flags("UC", "UC,URX", "UF", "UF,URX", "URX,UF", "URX,UC"), reached(0))),),
        case="39-dr-tls-disable", resources=authentication("STRICT"),
    ),
    Row(
        MTLS, "a DestinationRule with tls ISTIO_MUTUAL is mutual TLS by name", "golden 40, §2.6",
        ((Send(), _MUTUAL),),
        case="40-dr-tls-istio-mutual", mutant=("ISTIO_MUTUAL", "DISABLE"),
    ),
    Row(
        MTLS, "against a port without TLS that is 503 at the caller", "§2.6",
        ((Send(times=2), (status(503), flags("UF,URX", "URX,UF", "UF"), reached(0))),),
        case="40-dr-tls-istio-mutual", resources=authentication("DISABLE"),
    ),
)  # fmt: skip
