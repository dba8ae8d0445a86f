"""TLS on a stream that was read from already, as client or server, and the names in a client's certificate."""
