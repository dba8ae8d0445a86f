"""What the gateway's own processes tell about themselves while they are soaked."""
