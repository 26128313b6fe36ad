"""What imlib promises to be fast at, measured: ours, the peer's and the floor on the same data in
one run.
"""
