"""What single steps cost, by pytest-benchmark: `python -m pytest benchmarks/micro`. `make test` does not collect it."""
