"""What a rule's `inspect` does to one exchange: judge its request, change its header, scrub its answer."""
