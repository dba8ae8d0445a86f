"""From a WebSocket's handshake on: a tunnel, whichever version of HTTP either side speaks."""
