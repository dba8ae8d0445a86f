"""Tests of gateway/app/identity."""
