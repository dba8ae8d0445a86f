"""Live flows: the newest records of all workers, and filters for them."""
