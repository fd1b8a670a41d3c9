"""The commands of ``fxa-auth`` that work on the store, a module for each family."""
