"""Fakes, servers and builders that tests share."""
