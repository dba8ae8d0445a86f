"""Text into settings and rules: strict YAML, every error with its place, everything compiled before anything starts."""
