"""How large the stories are: short in `make test`, long (`FAULTS=long`) in `make faults`."""

import os

LONG = os.environ.get("FAULTS") == "long"
