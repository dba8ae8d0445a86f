"""Where records go: files that are written, rotated, and gathered into windows."""
