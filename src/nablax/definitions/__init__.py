"""Functions with derivatives of the user's own: in JAX code, in formulas, in every verb and in print."""
