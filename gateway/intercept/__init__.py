"""TLS interception: the authority that signs for inspected destinations, the leaves, and both handshakes."""
