"""Tests of gateway/model/recording."""
