"""Log formats: one module each, writer and reader together."""
