"""Measures the gateway beside other forward proxies; see README.md."""
