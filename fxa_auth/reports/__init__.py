"""Reports that mail servers and readers send back by mail: taken in by SMTP or LMTP, understood, and handed on.

``conversation`` speaks with the relay, ``listener`` owns the conversations, ``intake`` says what may come in,
``reading`` knows what reports look like. What follows from a report is not known here.
"""
