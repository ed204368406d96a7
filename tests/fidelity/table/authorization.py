"""AuthorizationPolicy: who may do what, decided by the callee's sidecar."""

from __future__ import annotations

from collections.abc import Mapping

from tests.fidelity.calls import Send
from tests.fidelity.checks import Check, body, flags, reached, status
from tests.fidelity.rows import Row
from tests.fidelity.table.faults import PAYMENT
from tests.fidelity.table.routing import INNER
from tests.fidelity.table.security import authentication
from tests.fidelity.world import CALLER, OUTSIDE, STRANGER

TOPIC = "Authorization"
PAYING = "payment-1.shop"
"""A caller in shop with another identity than ``INNER``."""

ALLOWED: tuple[Check, ...] = (status(200), reached(1))
DENIED: tuple[Check, ...] = (status(403), body("RBAC: access denied"), reached(0))


def _order(
    by: str = INNER, *, method: str = "GET", path: str = "/", host: str = "", headers: Mapping[str, str] | None = None
) -> Send:
    host = host or ("order-service" if by.endswith(".shop") else "order-service.shop")
    return Send(f"http://{host}{path}", by, method=method, headers={"content-length": "0", **(headers or {})})


def policy(
    rules: str,
    *,
    action: str = "ALLOW",
    name: str = "payment",
    namespace: str = "shop",
    selector: str = "{app: payment-service}",
) -> str:
    """An AuthorizationPolicy for payment-service."""
    chosen = f"  selector: {{matchLabels: {selector}}}\n" if selector else ""
    return (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{chosen}  action: {action}\n  rules: {rules}\n---\n"
    )


def _pay(path: str = "/", by: str = CALLER, **more: str) -> Send:
    return Send(PAYMENT.rstrip("/") + path, by, headers={name.replace("_", "-"): value for name, value in more.items()})


_USER = {"x-user": "qa"}

ROWS = (
    Row(
        TOPIC, "ALLOW by principal: that service account may call, others get 403; plaintext has no principal", "golden 49, §3.1",
        ((_order(), ALLOWED), (_order(PAYING), (*DENIED, flags("-"))), (_order(STRANGER), DENIED), (_order(OUTSIDE), DENIED)),
        case="49-authz-allow-principal", renew=True,
    ),
    Row(
        TOPIC, "DENY by method and path", "golden 50, §3.1",
        ((_order(method="DELETE", path="/orders/1"), DENIED), (_order(path="/orders/1"), ALLOWED), (_order(method="DELETE", path="/other"), ALLOWED)),
        case="50-authz-deny-path-method", renew=True,
    ),
    Row(
        TOPIC, "an empty spec denies everything in its namespace", "golden 51, §3.1",
        ((_order(), DENIED), (_pay(), DENIED)),
        case="51-authz-allow-nothing", renew=True,
    ),
    Row(
        TOPIC, "everything said in a rule must hold: namespace, not that principal, port, host, not that method, header", "golden 52, §3.1",
        (
            (_order(headers=_USER), ALLOWED),
            (_order(headers={"x-user": "tester"}), ALLOWED),
            (_order(headers={"x-user": "dev"}), DENIED),
            (_order(), DENIED),
            (_order(PAYING, headers=_USER), DENIED),
            (_order(STRANGER, headers=_USER), DENIED),
            (_order(host="order-service.shop", headers=_USER), DENIED),
            (_order(method="PUT", headers=_USER), DENIED),
        ),
        case="52-authz-namespaces-headers-ports", renew=True,
    ),
    Row(
        TOPIC, "DENY comes before ALLOW", "§3.1",
        ((_pay("/admin"), DENIED), (_pay("/charge"), ALLOWED)),
        resources=policy("[{}]") + policy("[{to: [{operation: {paths: [/admin]}}]}]", action="DENY", name="deny"), renew=True,
        mutant=("action: DENY", "action: ALLOW"),
    ),
    Row(
        TOPIC, "one rule that matches is enough, of all ALLOW policies", "§3.1",
        ((_pay("/a"), ALLOWED), (_pay("/b"), ALLOWED), (_pay("/c"), DENIED)),
        resources=policy("[{to: [{operation: {paths: [/a]}}]}]", name="a") + policy("[{to: [{operation: {paths: [/b]}}]}]", name="b"), renew=True,
    ),
    Row(
        TOPIC, "without an ALLOW policy everything that is not denied is allowed", "§3.1",
        ((_pay("/"), ALLOWED), (_pay("/x"), DENIED)),
        resources=policy("[{to: [{operation: {paths: [/x]}}]}]", action="DENY"), renew=True, mutant=("DENY", "ALLOW"),
    ),
    Row(
        TOPIC, "AUDIT denies nothing", "§3.1",
        ((_pay(), ALLOWED),),
        resources=policy("[{}]", action="AUDIT"), renew=True, mutant=("AUDIT", "DENY"),
    ),
    Row(
        TOPIC, "paths by prefix, suffix and presence; the query does not count", "§3.1",
        ((_pay("/api/x"), DENIED), (_pay("/x.json?y=/"), DENIED), (_pay("/x"), ALLOWED)),
        resources=policy('[{to: [{operation: {paths: ["/api/*", "*.json"]}}]}]', action="DENY"), renew=True,
    ),
    Row(
        TOPIC, "not-forms exclude", "§3.1",
        ((_pay("/health"), ALLOWED), (_pay("/charge"), DENIED)),
        resources=policy("[{to: [{operation: {notPaths: [/health]}}]}]", action="DENY"), renew=True,
    ),
    Row(
        TOPIC, "an ALLOW policy of the root namespace binds every workload", "§3.1",
        ((_pay(), ALLOWED), (_pay(by=STRANGER), DENIED), (_order(STRANGER), DENIED)),
        resources=policy("[{from: [{source: {namespaces: [shop]}}]}]", namespace="istio-system", selector=""), renew=True,
    ),
    Row(
        TOPIC, "request headers in when", "§3.1",
        ((_pay(x_token="a1"), ALLOWED), (_pay(x_token="b1"), DENIED), (_pay(), DENIED)),
        resources=policy('[{when: [{key: "request.headers[x-token]", values: ["a*"]}]}]'), renew=True,
    ),
    Row(
        TOPIC, "ports are the workload's, not the Service's", "§3.1",
        ((_pay(), DENIED),),
        resources=policy('[{to: [{operation: {ports: ["8080"]}}]}]', action="DENY"), renew=True, mutant=('"8080"', '"80"'),
    ),
    Row(
        TOPIC, "by the caller's address", "§3.1",
        ((_pay(by=OUTSIDE), DENIED), (_pay(), DENIED)),
        resources=policy("[{from: [{source: {ipBlocks: [127.0.0.0/8]}}]}]", action="DENY"), renew=True, mutant=("127.0.0.0/8", "10.0.0.0/8"),
    ),
    Row(
        TOPIC, "in plaintext no principal matches, so DENY by principal lets it through", "§3.1, trap 39",
        ((_pay(by=OUTSIDE), ALLOWED), (_pay(by=STRANGER), DENIED)),
        resources=policy('[{from: [{source: {principals: ["*"]}}]}]', action="DENY"), renew=True,
    ),
    Row(
        TOPIC, "STRICT comes first: plaintext is reset before any policy is asked", "§3",
        ((_pay(by=OUTSIDE), (status(0),)), (_pay(), DENIED)),
        resources=policy("[{}]", action="DENY") + authentication("STRICT"), renew=True, mutant=("STRICT", "PERMISSIVE"),
    ),
)  # fmt: skip
