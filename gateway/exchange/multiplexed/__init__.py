"""The requests of one connection of HTTP/2, all answered at once."""
