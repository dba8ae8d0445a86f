"""Who may reach what: verdicts, sentence by sentence of the contract."""
