"""Line searches and minimisers that consume the curvature."""

from nablax.optimise.backtrack import Backtracking, Bracketing, backtracking, bracketing
from nablax.optimise.conditions import (
    approximate_wolfe,
    armijo,
    curvature_condition,
    goldstein,
    strong_wolfe,
    wolfe,
)
from nablax.optimise.cubic_search import MoreThuente, more_thuente
from nablax.optimise.ecosystem import LineSearchState, OptimistixSearch, scale_by_linesearch
from nablax.optimise.interval import Minimum
from nablax.optimise.line import LineSearch, Step, along
from nablax.optimise.minimiser import Iteration, minimise
from nablax.optimise.objective import Counts
from nablax.optimise.outcome import SearchOutcome, Status, told
from nablax.optimise.parabolas import brent, parabolic
from nablax.optimise.result import Definiteness, Kind, Optimum, definiteness
from nablax.optimise.secant_search import HagerZhang, hager_zhang
from nablax.optimise.sections import dichotomy, golden_section
from nablax.optimise.slopes import newton_1d, slope_bisection
from nablax.optimise.table import Table

__all__ = [
    "Backtracking",
    "Bracketing",
    "Counts",
    "Definiteness",
    "HagerZhang",
    "Iteration",
    "Kind",
    "LineSearch",
    "LineSearchState",
    "Minimum",
    "MoreThuente",
    "OptimistixSearch",
    "Optimum",
    "SearchOutcome",
    "Status",
    "Step",
    "Table",
    "along",
    "approximate_wolfe",
    "armijo",
    "backtracking",
    "bracketing",
    "brent",
    "curvature_condition",
    "definiteness",
    "dichotomy",
    "golden_section",
    "goldstein",
    "hager_zhang",
    "minimise",
    "more_thuente",
    "newton_1d",
    "parabolic",
    "scale_by_linesearch",
    "slope_bisection",
    "strong_wolfe",
    "told",
    "wolfe",
]
