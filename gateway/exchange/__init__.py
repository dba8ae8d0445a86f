"""One HTTP exchange, plain or inside TLS: judge, lease, forward, stream, record."""
