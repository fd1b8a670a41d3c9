"""Tests of what comes back by mail."""
