"""A generation: read by a child process, carried in frames, put together where it serves."""
