"""Tests of gateway/settings/sections."""
