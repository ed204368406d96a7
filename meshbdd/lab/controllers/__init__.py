"""Controllers: they watch the lab's Kubernetes API and write to it, and know no other way to each other."""
