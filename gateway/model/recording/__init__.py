"""How what happened comes into a draft."""
