"""Tests of policy/tables/."""
