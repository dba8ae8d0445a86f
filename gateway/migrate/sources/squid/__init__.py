"""squid.conf: lines, the lists that they name, and who may do what in which order."""
