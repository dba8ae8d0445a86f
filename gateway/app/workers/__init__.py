"""Worker processes: the messages between them and their supervisor, who starts them, and what each of them does."""
