"""Tests of gateway.lock."""
