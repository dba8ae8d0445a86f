"""Stories in which something breaks, and what holds all the same."""
