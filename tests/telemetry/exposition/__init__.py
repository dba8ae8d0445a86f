"""Tests of gateway/telemetry/exposition."""
