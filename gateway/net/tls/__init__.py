"""TLS over a stream that was already read from, either side of it, and what a client's certificate says."""
