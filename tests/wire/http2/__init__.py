"""HTTP/2 connections without sockets."""
