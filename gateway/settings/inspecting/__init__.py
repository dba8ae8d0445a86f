"""What gateway.yaml says of inspectors."""
