"""How text is read: bounded, strict, and with the place of everything in it."""
