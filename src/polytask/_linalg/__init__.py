"""Exact solvers of the small problems (tasks x tasks) behind gradient aggregation.

Pure functions on float64 NumPy arrays: a Gramian in, a `Solution` out. No state, no randomness, no
absolute constants: every tolerance is relative, so that gradients of size 1e-15 and of size 1e15
are the same problem. Linear solves go through NumPy, which is faster than torch at these sizes;
eigen-decompositions go through torch, because NumPy's wake BLAS threads that slow the next step.
"""

from .cagrad import solve_cagrad
from .cone import solve_dualproj, solve_upgrad
from .cosine import solve_config, solve_imtl_g
from .eigen import solve_aligned_mtl
from .fairness import solve_fair, solve_nash
from .krum import TOO_FEW, solve_krum
from .lcp import LCPSolution, lcp_residual, solve_lcp
from .min_norm import solve_min_norm
from .scaling import Equilibrated, equilibrate
from .simplex import project_simplex
from .solution import (
    ILL_CONDITIONED,
    NON_FINITE,
    NOT_CONVERGED,
    RANK_DEFICIENT,
    STATIONARY,
    TOLERANCE,
    Array,
    Solution,
)
from .surgery import VACCINE_LIMIT, pcgrad_weights, vaccine_weights

__all__ = [
    "ILL_CONDITIONED",
    "NON_FINITE",
    "NOT_CONVERGED",
    "RANK_DEFICIENT",
    "STATIONARY",
    "TOLERANCE",
    "TOO_FEW",
    "VACCINE_LIMIT",
    "Array",
    "Equilibrated",
    "LCPSolution",
    "Solution",
    "equilibrate",
    "lcp_residual",
    "pcgrad_weights",
    "project_simplex",
    "solve_aligned_mtl",
    "solve_cagrad",
    "solve_config",
    "solve_dualproj",
    "solve_fair",
    "solve_imtl_g",
    "solve_krum",
    "solve_lcp",
    "solve_min_norm",
    "solve_nash",
    "solve_upgrad",
    "vaccine_weights",
]
