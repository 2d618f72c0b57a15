"""Jobs: steps on a remote Ray cluster."""
