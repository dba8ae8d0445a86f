"""From the form of files to what decides."""
