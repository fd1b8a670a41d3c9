"""Against programs of the system that not every machine has: each module is run by a target of the Makefile.

Their names do not begin with ``test_``, so that the suite goes without them.
"""
