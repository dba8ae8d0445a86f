"""What inspectors are shown, and what leaves when."""
