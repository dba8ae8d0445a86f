"""What things are: plain values, the roles that rooms play for each other, and how things go wrong."""
