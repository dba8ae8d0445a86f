"""The Helm chart, and what generates files from it and for it."""
