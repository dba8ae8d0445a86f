"""The limits of a policy, as values."""
