"""Moving in: what others' files allow as a policy of ours, and what workloads must be told. Text to text, no I/O."""
