"""The abuse policy, against real HTTP servers."""
