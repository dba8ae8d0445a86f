"""Tests of gateway/telemetry/formats."""
