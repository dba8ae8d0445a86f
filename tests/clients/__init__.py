"""Programs of the client matrix, each a small use of one real HTTP client."""
