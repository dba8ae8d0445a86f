"""Name service without I/O: what responses mean, and how long it is remembered."""
