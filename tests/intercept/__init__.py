"""The authority, its leaves, and what is done with them."""
