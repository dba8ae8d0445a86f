"""`learn`, `replay` and `report`: what records of traffic tell."""
