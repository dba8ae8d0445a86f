"""The requests of one HTTP/2 connection, answered concurrently."""
