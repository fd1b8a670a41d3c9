"""A Firefox Accounts authentication server in one Twisted process."""

__version__ = "0.1.0"
