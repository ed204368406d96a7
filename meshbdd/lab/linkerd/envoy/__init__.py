"""Writing: Linkerd's policies → Envoy's configuration for one sidecar, as dicts in protobuf field names."""
