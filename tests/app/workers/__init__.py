"""Tests of app/workers/."""
