"""Stories: one file each, the real gateway and real sockets."""
