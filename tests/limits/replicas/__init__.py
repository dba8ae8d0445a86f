"""Tests of gateway/limits/replicas."""
