"""`routes`: leading traffic to a transparent listener."""
