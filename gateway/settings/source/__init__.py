"""Reads text: bounded, strict, and with the place of everything in it."""
