"""What the kernel is told, so that traffic comes to the gateway and nothing goes around it."""
