"""What a policy bounds, as values."""
