"""HTTP/2 connections: one stream for each exchange, and content in both directions as windows allow."""
