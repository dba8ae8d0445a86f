"""Answers to why."""
