"""Real routing: pods, a gateway and a world in network namespaces of their own."""
