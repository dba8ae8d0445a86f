"""Inspectors that come with the gateway."""
