"""Tokens of service accounts: their claims, and their verification."""
