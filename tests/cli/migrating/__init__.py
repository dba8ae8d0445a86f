"""Tests of `gateway/cli/migrating`."""
