"""Verdicts and arithmetic: who may reach what. Pure: no I/O, no clock."""
