"""Who runs in the cluster around: pods by their address, and the tokens of service accounts."""
