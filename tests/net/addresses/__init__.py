"""Tests of gateway.net.addresses."""
