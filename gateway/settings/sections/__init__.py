"""Sections of gateway.yaml that speak of one subject."""
