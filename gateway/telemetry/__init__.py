"""What the gateway tells about itself: one record a connection, counters, and the sinks that they go to."""
