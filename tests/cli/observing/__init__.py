"""Tests of gateway/cli/observing."""
