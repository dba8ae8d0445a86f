"""Tests of gateway/kubernetes."""
