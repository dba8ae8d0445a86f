"""The buckets of this machine, in memory of one process or of all workers."""
