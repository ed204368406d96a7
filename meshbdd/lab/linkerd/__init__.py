"""Linkerd on the lab: its resources become its own policies, and those become Envoy configuration."""
