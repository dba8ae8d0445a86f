"""Socket addresses beyond bind and connect: a captured connection's original destination, a chosen source address."""
