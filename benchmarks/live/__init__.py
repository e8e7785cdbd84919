"""Latency and exactness of the live path, from capture to a viewer."""
