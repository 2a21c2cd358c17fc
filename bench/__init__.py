"""Benchmarks: `python -m bench ops|models|table|compare`. Cases and checks come from the tests."""
