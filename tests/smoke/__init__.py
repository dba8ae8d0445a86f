"""`make smoke`: pip, npm and apt fetch through the gateway, from where this machine is set up for."""
