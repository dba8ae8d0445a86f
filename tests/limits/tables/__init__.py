"""Tests of gateway/limits/tables."""
