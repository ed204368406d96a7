"""What of Linkerd's API the lab serves: resource definitions, and what Linkerd's webhook denies."""
