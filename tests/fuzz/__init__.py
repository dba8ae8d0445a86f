"""Coverage-guided fuzzing of everything that reads bytes which a stranger wrote."""
