"""The attack suite: what a hostile client, name server or destination sends, and what must happen."""
