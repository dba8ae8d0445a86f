"""What only the kernel knows."""
