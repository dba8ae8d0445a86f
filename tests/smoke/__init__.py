"""`make smoke`: pip and npm fetch through the gateway, from the registries that this machine is set up for."""
