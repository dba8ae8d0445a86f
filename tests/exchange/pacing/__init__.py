"""See `gateway/exchange/pacing`."""
