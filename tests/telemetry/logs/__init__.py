"""Tests of gateway/telemetry/logs."""
