"""The data plane: one real Envoy per meshed pod, its bootstrap, and the path of a pod without one."""
