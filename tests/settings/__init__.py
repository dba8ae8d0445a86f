"""Text into settings and rules."""
