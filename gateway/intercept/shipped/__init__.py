"""Inspectors that come with the gateway, and run where exchanges do."""
