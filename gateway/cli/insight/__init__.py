"""`learn`, `replay` and `report`: analyses of recorded traffic."""
