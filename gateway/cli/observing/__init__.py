"""`egress-gateway observe`: live flows, as a running gateway tells them."""
