"""What a row of the corpus holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One formula.

    Args:
        name: what it is.
        formula: in the language of the package.
        wrt: the variable of differentiation.
        value: the same by hand, a NumPy expression of the variables.
        gradient: the gradient (or Jacobian, or linear map) as a book prints it.
        hessian: the Hessian as a book prints it; empty where no book does.
        declare: kinds of names, where the formula alone does not say them.
        longer: why the answer is more than one and a half times as long as the book's, where it is.
    """

    name: str
    formula: str
    wrt: str
    value: str
    gradient: str
    hessian: str = ""
    declare: str = ""
    longer: str = ""
