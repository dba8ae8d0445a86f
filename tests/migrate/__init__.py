"""Tests of `gateway/migrate`."""
