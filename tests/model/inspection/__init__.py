"""See `gateway/model/inspection`."""
