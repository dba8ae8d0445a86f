"""The addresses of a socket where the kernel has more to say than bind and connect: where it was going, from where."""
