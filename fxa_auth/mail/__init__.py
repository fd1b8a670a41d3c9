"""Mail: a letter becomes a message (``compose``), waits its turn (``outbox``) and goes to a server (``smtp``).

The three parts meet only in the wiring. None of them knows the database, the settings or a request.
"""
