"""Limits that many gateways share through Redis: permits drawn in advance, and what applies while it is down."""
