"""The servers under a deployment: opening them, talking to them, starting private ones."""
