"""What the benchmarks of inspected TLS have in common: an origin, the proxies before it, and a way through them."""
