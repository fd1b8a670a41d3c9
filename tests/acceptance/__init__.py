"""The daemon as its users meet it: a child process, driven over real sockets by clients that are not ours."""
