"""The Helm chart, and what is made from it and for it."""
