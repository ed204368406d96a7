"""Linkerd's metrics, from what Envoy counts in Linkerd mode."""
