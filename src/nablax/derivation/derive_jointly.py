"""Closed forms of the derivatives by several arguments, as the user gets them."""

from __future__ import annotations

from dataclasses import replace

from nablax.derivation.joint import LAYOUT, JointDerivation
from nablax.derivation.session import Session
from nablax.derivation.without_notation import CONVENTION, CONVENTIONS


def joint_derivation(session: Session) -> JointDerivation:
    """Value, gradients and blocks of the Hessian.

    Args:
        session: writes and checks them.

    Raises:
        VerificationError: no closed form passed its check.
    """
    problem, forms = session.problem, session.forms
    of = {place: problem.arguments[place] for place in session.places}
    conventions = [CONVENTIONS.get(one.kind, CONVENTION).format(one.name, session.called) for one in of.values()]
    return JointDerivation(
        **session.known(),
        wrt=tuple(one.name for one in of.values()),
        gradients={
            of[place].name: replace(form, called=f"gradient_{of[place].name}")
            for place, form in forms.gradients.items()
        },
        blocks={
            (of[a].name, of[b].name): replace(form, called=f"hessian_{of[a].name}_{of[b].name}")
            for (a, b), form in forms.blocks.items()
        },
        shapes={**session.arguments, session.called: session.value_shape},
        convention="; ".join([*dict.fromkeys(conventions), *([LAYOUT] if forms.blocks else [])]),
    )
