"""The live connections of this process: admission, what is open, what a reload means for it."""
