"""Live flows: the newest records of all workers, and what an operator wants to see of them."""
