"""`egress-gateway observe`: live flows of a running gateway."""
