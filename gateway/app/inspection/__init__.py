"""The authority of inspected destinations: read from its files, and put in force."""
