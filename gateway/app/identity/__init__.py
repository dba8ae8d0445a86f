"""Who is asking, as the settings in force want it found out."""
