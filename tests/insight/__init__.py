"""Tests of gateway/insight."""
