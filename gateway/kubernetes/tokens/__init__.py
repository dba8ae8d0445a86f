"""Tokens of service accounts: what one claims, and whether that is true."""
