"""One module a format that is imported: how its own documentation reads it."""
