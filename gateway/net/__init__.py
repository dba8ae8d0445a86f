"""Sockets and names: listening, byte streams, resolving, dialling, relaying."""
