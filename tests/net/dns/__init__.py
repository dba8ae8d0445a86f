"""Name service without I/O."""
