"""The tests of fxa_auth.http: the whole pipeline behind a real listening socket, and its parts one by one."""
