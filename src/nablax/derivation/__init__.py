"""Closed forms: gradient, Jacobian and Hessian in matrix notation, printed from the planned derivative.

One module per step: problem (what is differentiated), identities (one table, tested row by row) and elementary (what
is rewritten before the trace), planned (the engine's terms), read_nodes (terms to index notation), algebra, rules and
patterns (its arithmetic, with the rows for products), networks and forms (index notation to short matrix expressions),
write (names), steps (the engine's local Jacobians, operation by operation), domain, verify, session (all of that for
one question), derive (for one variable or several), shown and lesson (what a reader is told).
"""

from nablax.derivation.closed_form import ClosedForm
from nablax.derivation.derivation import Derivation
from nablax.derivation.derive import derive
from nablax.derivation.joint import JointDerivation
from nablax.derivation.shown import DerivationStep
from nablax.derivation.verify import Verification
from nablax.errors import DerivationError, UnprintableError, VerificationError

__all__ = [
    "ClosedForm",
    "Derivation",
    "DerivationError",
    "DerivationStep",
    "JointDerivation",
    "UnprintableError",
    "Verification",
    "VerificationError",
    "derive",
]
