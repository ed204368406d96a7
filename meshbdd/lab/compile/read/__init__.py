"""Reading: Kubernetes objects → the intermediate representation."""
