"""The server's models, one a module; reached through a deployment."""
