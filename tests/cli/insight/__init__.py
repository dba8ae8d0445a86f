"""Tests of gateway/cli/insight."""
