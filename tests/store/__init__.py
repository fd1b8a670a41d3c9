"""The store: operations written once, tested once on every database."""
