"""Which requests a rule allows, and where secrets may go: pure verdicts."""
