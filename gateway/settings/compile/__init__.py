"""From typed files to the values that decide: consistency checks, conflicts, warnings, what is not available yet."""
