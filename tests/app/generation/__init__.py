"""Tests of app/generation/."""
