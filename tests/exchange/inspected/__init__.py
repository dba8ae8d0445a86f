"""See `gateway/exchange/inspected`."""
