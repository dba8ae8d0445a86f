"""What is in force for inspected tunnels."""
