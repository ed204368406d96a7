"""Linkerd: what it can do, and why not."""
