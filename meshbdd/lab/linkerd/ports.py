"""The ports of Linkerd's proxy: linkerd2 charts/linkerd-control-plane/values.yaml, ``proxy.ports``."""

INBOUND_PORT = 4143
OUTBOUND_PORT = 4140
CONTROL_PORT = 4190
ADMIN_PORT = 4191
RESERVED_PORTS = frozenset({INBOUND_PORT, OUTBOUND_PORT, CONTROL_PORT, ADMIN_PORT})
TIMER_PORT = 4199
"""At the pod-private address: where a sidecar's script waits (see ``envoy.failfast``)."""
