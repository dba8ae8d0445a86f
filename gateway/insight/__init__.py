"""What recorded traffic tells: the policy that it needs, what another policy would do to it, who reached what."""
