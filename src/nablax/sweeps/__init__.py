"""Walks over a graph that make derivatives: forward, reverse, cores and legs."""
