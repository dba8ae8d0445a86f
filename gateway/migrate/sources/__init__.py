"""One module for each format that is imported, as its own documentation defines it."""
