"""Parts of `/metrics` beside the counts themselves."""
