"""Private servers for tests and benchmarks: each has its own folder and ends by its own pid."""
