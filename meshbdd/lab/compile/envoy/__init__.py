"""Writing: the intermediate representation → Envoy's configuration, as dicts in protobuf field names."""
