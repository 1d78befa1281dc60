"""Curvature with a proof: whether a formula or function is convex, by composition rules or by its printed Hessian.

One module per step: reading (a formula as an expression), intervals and facts (what can be known of an expression),
atoms (the table of scalar functions), elementwise, matrices and calls (rules), semidefinite (sums of squares),
composition (one pass over a tree), hessian, points and check (random segments, eigenvalues), refute (witnesses),
result, convexity (all of that).
"""

from nablax.convex.convexity import convexity
from nablax.convex.result import Convexity, ConvexityCheck, ProofStep, Verdict, Witness

__all__ = ["Convexity", "ConvexityCheck", "ProofStep", "Verdict", "Witness", "convexity"]
