"""Tests of gateway/kubernetes/tokens."""
