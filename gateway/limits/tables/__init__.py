"""Where buckets of this machine lie."""
