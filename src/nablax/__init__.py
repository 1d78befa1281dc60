"""nablax: exact derivatives, planned and fast."""

import nablax.neural as neural
from nablax.answering import DiagonalEstimate
from nablax.at_point import Curvature, curvature
from nablax.checkpoints.checkpoint import CheckpointPlan, checkpoint
from nablax.convex import Convexity, convexity
from nablax.definitions.define import define
from nablax.derivation import Derivation, JointDerivation, derive
from nablax.derivatives import (
    hessian,
    hessian_diagonal,
    hessian_diagonal_estimate,
    hessian_sparse,
    hvp,
    jacobian,
    jacobian_sparse,
    laplacian,
    plan,
    quadratic_form,
)
from nablax.errors import (
    ArgumentError,
    DefinitionError,
    DerivationError,
    DifferentiationError,
    DomainError,
    EquilibriumError,
    FormulaError,
    MemoryBoundError,
    NablaxError,
    OutputError,
    StrategyError,
    TargetError,
    TracingError,
    UnprintableError,
    VerificationError,
)
from nablax.neural import R, implicit
from nablax.optimise import minimise
from nablax.orders.directional import directional
from nablax.orders.finite_differences import VCurve, finite_difference, step_errors
from nablax.orders.tensors import (
    derivative,
    derivative_along,
    derivative_block,
    derivative_diagonal,
    derivative_sparse,
)
from nablax.planning.explain import Plan
from nablax.teach import GraphView, graph

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "CheckpointPlan",
    "Convexity",
    "Curvature",
    "DefinitionError",
    "Derivation",
    "DerivationError",
    "DiagonalEstimate",
    "DifferentiationError",
    "DomainError",
    "EquilibriumError",
    "FormulaError",
    "GraphView",
    "JointDerivation",
    "MemoryBoundError",
    "NablaxError",
    "OutputError",
    "Plan",
    "R",
    "StrategyError",
    "TargetError",
    "TracingError",
    "UnprintableError",
    "VCurve",
    "VerificationError",
    "checkpoint",
    "convexity",
    "curvature",
    "define",
    "derivative",
    "derivative_along",
    "derivative_block",
    "derivative_diagonal",
    "derivative_sparse",
    "derive",
    "directional",
    "finite_difference",
    "graph",
    "hessian",
    "hessian_diagonal",
    "hessian_diagonal_estimate",
    "hessian_sparse",
    "hvp",
    "implicit",
    "jacobian",
    "jacobian_sparse",
    "laplacian",
    "minimise",
    "neural",
    "plan",
    "quadratic_form",
    "step_errors",
]
