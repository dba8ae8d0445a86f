"""Tests of gateway/exchange."""
