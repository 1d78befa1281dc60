"""Minimisers and line searches against their peers; `python -m benchmarks.minimise`."""
