"""TLS on a stream that was already read from, as client or server, and the names in a client's certificate."""
