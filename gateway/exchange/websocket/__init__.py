"""WebSockets: from the handshake on a tunnel, whichever version of HTTP either side speaks."""
