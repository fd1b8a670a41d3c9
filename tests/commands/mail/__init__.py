"""Tests of the actions of ``fxa-auth mail``."""
