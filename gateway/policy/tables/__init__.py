"""Patterns and networks as tables that answer in the same time however many entries they have."""
