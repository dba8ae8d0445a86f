"""Names, authorities, addresses: one canonical form, and nothing else accepted."""
