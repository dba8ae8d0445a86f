"""Exports traces, metrics and logs over OTLP, made from records by a thread of its own."""
