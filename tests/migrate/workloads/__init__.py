"""Tests of `gateway/migrate/workloads`."""
