"""Bytes into values and back: request head, credentials, ClientHello, replies, alerts. Pure: no I/O, no clock."""
