"""What only the kernel knows: segments of a connection, descriptors that are left."""
