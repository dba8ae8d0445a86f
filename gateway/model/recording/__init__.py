"""How events are noted in a draft."""
