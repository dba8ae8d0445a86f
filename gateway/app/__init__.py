"""Builds every object and keeps the process: start, reload, drain."""
