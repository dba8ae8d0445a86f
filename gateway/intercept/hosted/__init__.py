"""Inspectors that others wrote, each declaration in a process of its own."""
