"""How text is read."""
