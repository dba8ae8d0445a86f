"""Many processes that serve as one: what they say to each other, who starts them, and what each of them does."""
