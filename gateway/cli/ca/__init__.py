"""`ca`: the authority that signs for inspected destinations."""
