"""Tests of `gateway/migrate/sources/squid`."""
