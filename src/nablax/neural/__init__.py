"""Networks whose gradients and products H v are written out: the R-operator's networks.

Back-propagation, recurrent back-propagation, Boltzmann machines and weight perturbation, each with its R-version
(Pearlmutter 1994). Everywhere ``w[i, j]`` is the weight *from unit j to unit i*.
"""

from nablax.neural.boltzmann import Boltzmann
from nablax.neural.descents import Descent, gradient_descent, newton_cg
from nablax.neural.directional import R
from nablax.neural.equations import Line, Table
from nablax.neural.error_functions import cross_entropy, squared_error
from nablax.neural.feed_forward import Activity, FeedForward
from nablax.neural.fixed_points import Implicit, implicit
from nablax.neural.levels import layered
from nablax.neural.perturbation import (
    CurvedEstimate,
    PerturbationEstimate,
    least_squares_hessian,
    weight_perturbation,
    weight_perturbation_along,
)
from nablax.neural.recurrent import Equilibrium, Recurrent
from nablax.neural.relaxation import Anderson, Relaxation
from nablax.neural.restricted import restricted_boltzmann
from nablax.neural.samples import Estimate, Samples
from nablax.neural.stability import Stability

__all__ = [
    "Activity",
    "Anderson",
    "Boltzmann",
    "CurvedEstimate",
    "Descent",
    "Equilibrium",
    "Estimate",
    "FeedForward",
    "Implicit",
    "Line",
    "PerturbationEstimate",
    "R",
    "Recurrent",
    "Relaxation",
    "Samples",
    "Stability",
    "Table",
    "cross_entropy",
    "gradient_descent",
    "implicit",
    "layered",
    "least_squares_hessian",
    "newton_cg",
    "restricted_boltzmann",
    "squared_error",
    "weight_perturbation",
    "weight_perturbation_along",
]
