"""HTTP/1 messages: bytes to events and back. One strictness, whichever library splits the heads."""
