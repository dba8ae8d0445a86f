"""Log files: written, rotated, and flows gathered into windows."""
