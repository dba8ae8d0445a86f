"""The admin port: health, metrics and reload. What it needs from the gateway are Protocols that `app` fulfils."""
