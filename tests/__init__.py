"""What imlib promises, tested."""
