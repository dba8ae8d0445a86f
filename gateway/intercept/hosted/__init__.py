"""Third-party inspectors, each declaration in a process of its own."""
