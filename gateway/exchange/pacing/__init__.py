"""Exchanges whose bytes are bounded: how they wait, and how they end."""
