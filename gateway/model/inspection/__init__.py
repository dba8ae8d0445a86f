"""What a rule's `inspect` says, and the secrets that it may have filled in."""
