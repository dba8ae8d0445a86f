"""Inspectors at work: where they run, what they see, and what may pass before they have judged."""
