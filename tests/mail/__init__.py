"""Tests of ``fxa_auth.mail``."""
