"""The sides of an exchange whose peer speaks HTTP/1: a connection each, and one message at a time."""
