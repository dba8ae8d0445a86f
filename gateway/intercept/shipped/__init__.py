"""Inspectors that come with the gateway, and run in its own process."""
