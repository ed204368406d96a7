"""Delivering configuration to the sidecars: one ADS stream (incremental xDS over gRPC) to each Envoy."""
