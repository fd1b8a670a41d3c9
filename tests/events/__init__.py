"""Tests of publishing events."""
