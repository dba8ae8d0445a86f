"""The life of one connection, from accept to record."""
