"""The live connections of this process: who comes in, what is open, what a reload means for it."""
