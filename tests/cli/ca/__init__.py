"""The authority from the command line."""
