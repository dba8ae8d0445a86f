"""`import`, `env` and `network-policy`: moving policies and workloads here."""
