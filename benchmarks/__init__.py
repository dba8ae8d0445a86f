"""Measures the gateway and other forward proxies; see README.md."""
