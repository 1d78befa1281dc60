"""Derivatives of any order: tensors, their contractions, Taylor coefficients, and differences to compare with."""
