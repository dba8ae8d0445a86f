"""The authority of inspected destinations, from the command line."""
