"""squid.conf: lines, ACLs, and the order in which they apply."""
