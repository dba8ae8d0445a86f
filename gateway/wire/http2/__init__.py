"""What an HTTP/2 connection carries (RFC 9113): frames, header blocks, streams and windows, without any I/O."""
