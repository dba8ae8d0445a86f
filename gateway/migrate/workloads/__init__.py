"""The configuration that workloads need to use the gateway and to trust its authority."""
