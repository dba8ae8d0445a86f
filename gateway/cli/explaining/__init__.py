"""Why a destination is allowed or not: what the rules say, and with --live what happens on the way."""
