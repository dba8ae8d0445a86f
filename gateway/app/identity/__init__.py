"""Identification of clients, as the settings in force want it."""
