"""Workloads of the cluster: pods by their address, and the tokens of service accounts."""
