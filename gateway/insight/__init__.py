"""Analyses of recorded traffic: the policy that it needs, what another policy would do to it, who reached what."""
