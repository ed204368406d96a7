"""What the mesh itself says of the traffic; nothing seen is never the same as zero."""
