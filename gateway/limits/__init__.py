"""Who holds the buckets behind a lease."""
