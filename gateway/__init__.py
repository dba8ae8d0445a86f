"""An egress gateway: decides, dials, relays and records what leaves a cluster."""
