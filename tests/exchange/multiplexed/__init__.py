"""Connections of HTTP/2, seen from the exchanges that go over them."""
