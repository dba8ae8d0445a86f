"""What the programs of a workload must be told to use the gateway and to trust its authority."""
