"""Imports policies of other products, and writes the configuration that workloads need. Text to text, no I/O."""
