"""Labelled products: indices, terms and the order of multiplication."""
