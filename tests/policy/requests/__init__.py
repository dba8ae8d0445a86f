"""See `gateway/policy/requests`."""
