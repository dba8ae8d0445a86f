"""The room of sockets and names."""
