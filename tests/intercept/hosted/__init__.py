"""Processes for inspectors that others wrote."""
