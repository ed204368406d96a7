"""Linkerd's statement of what it can do.

Sources: https://linkerd.io/2-edge/reference/httproute/, .../reference/circuit-breaking/, .../reference/rate-limiting/,
.../features/fault-injection/.
"""

from __future__ import annotations

from meshbdd.intents import CircuitBreaker, Fault, Limit, Mirror, MutualTls, TlsMode
from meshbdd.mesh.abilities import ONLY_THE_LABS_CLIENTS, YES, Ability, Answer, Need, no

_CANNOT = {
    Limit: "Linkerd limits how many requests come in a second, not how many are under way at a time",
    Mirror: "Linkerd leaves out every route with a RequestMirror, whole, and mirrors nothing",
}
_HOW = {Fault: "by fault backend", CircuitBreaker: "by failure accrual"}


def answer(need: Need, target: str) -> Answer:
    """Whether Linkerd can, see ``mesh.abilities.Answering``."""
    if isinstance(need, MutualTls) and need.mode is TlsMode.DISABLED:
        return no("Linkerd's proxies take mutual TLS from every meshed caller, and nothing switches that off")
    if type(need) in _CANNOT:
        return no(_CANNOT[type(need)])
    if need is Ability.PROMETHEUS:
        return Answer(True, "with Prometheus")
    if need is Ability.CLIENTS and target != "lab":
        return Answer(True, ONLY_THE_LABS_CLIENTS)
    return Answer(True, _HOW[type(need)]) if type(need) in _HOW else YES
