"""Connections of HTTP/2 on sockets: one stream for each exchange, and content in both directions as windows allow."""
