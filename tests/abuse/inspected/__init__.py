"""HTTP/2 inside TLS that the proxy ends: frames as they are, a client that sends them, a destination behind it."""
