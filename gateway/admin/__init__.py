"""The admin port: health, metrics and reload. Its Protocols say what it needs from the gateway; `app` fulfils them."""
