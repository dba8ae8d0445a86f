"""Which requests a rule lets through, and where secrets may go: pure verdicts."""
