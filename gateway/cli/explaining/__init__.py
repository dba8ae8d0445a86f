"""`explain`: why a destination is allowed or not, by the rules, and with --live what happens on the way."""
