"""Reverse mode within a memory bound: what is kept, and what is computed again."""
