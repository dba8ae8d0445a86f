"""From the form of files to what decides: what fits together, what does not, what is doubtful, what comes later."""
