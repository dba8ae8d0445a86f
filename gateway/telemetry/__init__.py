"""Telemetry: a record of each connection and request, counters, and the sinks and exporters that they go to."""
