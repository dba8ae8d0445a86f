"""Leases under limits: buckets, lines of waiting clients, and the stores that keep them."""
