"""Closed forms: gradient, Jacobian and Hessian in matrix notation, printed from the planned derivative.

One module per step: problem (what is differentiated), planned (the engine's terms), read_nodes (terms to
index notation), algebra and rules (its arithmetic), networks and forms (index notation to short matrix
expressions), write (names), steps, domain, verify, derive (all of that).
"""

from nablax.derivation.closed_form import ClosedForm
from nablax.derivation.derivation import Derivation, DerivationStep
from nablax.derivation.derive import derive
from nablax.derivation.verify import Verification
from nablax.errors import DerivationError, UnprintableError, VerificationError

__all__ = [
    "ClosedForm",
    "Derivation",
    "DerivationError",
    "DerivationStep",
    "UnprintableError",
    "Verification",
    "VerificationError",
    "derive",
]
