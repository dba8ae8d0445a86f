"""Leases under limits: buckets, queues of waiting clients, and the stores that keep them."""
