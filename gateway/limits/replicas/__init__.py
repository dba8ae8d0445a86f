"""Limits that many gateways share, through a Redis: leases in advance, and what holds while it does not answer."""
