"""Reading: Kubernetes resources → Linkerd's policies, by Linkerd's rules."""
