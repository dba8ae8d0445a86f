"""The gateway and its peers: their configurations, how they start, what they count, and that they end."""
