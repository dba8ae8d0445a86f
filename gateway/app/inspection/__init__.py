"""The parts of inspection: read from files, and put in force."""
