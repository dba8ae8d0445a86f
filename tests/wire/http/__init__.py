"""HTTP/1 messages."""
