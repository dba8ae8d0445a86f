"""Inspectors at work: where they run, what they are shown, and what may leave before they have judged."""
