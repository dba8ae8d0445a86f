"""Looking inside TLS: the authority that signs for inspected destinations, the leaves, and both handshakes."""
