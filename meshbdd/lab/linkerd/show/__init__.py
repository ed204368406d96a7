"""Showing: policies in the shape in which Linkerd's control plane sends them, protobuf as JSON."""
