"""Private servers for tests and benchmarks: each in a folder of its own, ended by its own process
id.
"""
