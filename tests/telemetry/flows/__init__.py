"""Tests of gateway/telemetry/flows."""
