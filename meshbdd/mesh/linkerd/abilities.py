"""Linkerd's statement of what it can do.

Sources: https://linkerd.io/2-edge/reference/httproute/, .../reference/circuit-breaking/, .../reference/rate-limiting/,
.../features/fault-injection/.
"""

from __future__ import annotations

from meshbdd.intents import CircuitBreaker, Fault, Intent, Limit, Mirror, MutualTls, TlsMode
from meshbdd.mesh.abilities import ONLY_THE_LABS_CLIENTS, YES, Ability, Answer, Need, no
from meshbdd.mesh.manifest import kinds_of

_CANNOT = {
    Limit: "Linkerd limits how many requests come in a second, not how many are under way at a time",
    Mirror: "Linkerd leaves out every route with a RequestMirror, whole, and mirrors nothing",
}
_HOW: dict[object, str] = {
    Fault: "by fault backend",
    CircuitBreaker: "by failure accrual",
    Ability.MANIFESTS: f"of the kinds {kinds_of('linkerd')}",
    Ability.PROMETHEUS: "with Prometheus",
    Ability.REFUSALS: "where no proxy denies the request first: that is a 403",
    Ability.ROTATION: "where its proxies renew their certificates so soon",
}
_ENVOYS = "meshbdd reads Envoy's pages and logs, and a real linkerd-proxy has none of these"
_BY_ENVOY = {
    Ability.MANIFESTS, Ability.ACCESS_LOG, Ability.TRACES, Ability.DENIALS, Ability.CIRCUITS, Ability.PLAINTEXT,
}  # fmt: skip
"""What is known from Envoy's pages and logs alone. Every change is among it: its arrival is."""


def answer(need: Need, target: str) -> Answer:
    """Whether Linkerd can, see ``mesh.abilities.Answering``."""
    if isinstance(need, MutualTls) and need.mode is TlsMode.DISABLED:
        return no("Linkerd's proxies take mutual TLS from every meshed caller, and nothing switches that off")
    if type(need) in _CANNOT:
        return no(_CANNOT[type(need)])
    if target != "lab" and (isinstance(need, Intent) or need in _BY_ENVOY):
        return no(_ENVOYS)
    if target != "lab" and need is Ability.CLIENTS:
        return Answer(True, ONLY_THE_LABS_CLIENTS)
    told = _HOW.get(need if isinstance(need, Ability) else type(need))
    return Answer(True, told) if told else YES
