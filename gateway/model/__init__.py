"""Plain values, the roles that rooms play for each other, and errors."""
