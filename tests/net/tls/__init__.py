"""TLS over streams, and what it is made from."""
