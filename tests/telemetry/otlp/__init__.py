"""Tests of gateway/telemetry/otlp."""
