"""Tests of `gateway/migrate/sources`: each against a reading of its own of the source."""
