"""Kernel rules that lead traffic to the gateway, and let nothing bypass it."""
