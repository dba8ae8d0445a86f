"""The families of `/metrics`, and their formats."""
