"""`ca`: the authority of inspected destinations."""
