"""Task gradients to one update."""

from polytask._linalg import (
    ILL_CONDITIONED,
    NON_FINITE,
    NOT_CONVERGED,
    RANK_DEFICIENT,
    STATIONARY,
    TOO_FEW,
    Solution,
)
from polytask._random import RandomSource

from .aligned_mtl import AlignedMTL
from .base import (
    ABSENT,
    GUARANTEES,
    Aggregator,
    GradientAggregator,
    GramianAggregator,
    Problem,
    Update,
)
from .cagrad import CAGrad
from .config import ConFIG
from .dbmtl import DBMTL
from .dualproj import DualProj
from .equal_norms import EqualizeNorms
from .every_n import EveryN
from .fairgrad import FairGrad
from .graddrop import GradDrop
from .gradnorm import GradNorm
from .gradvac import GradVac
from .imtl import IMTL
from .imtl_g import IMTLG
from .krum import Krum
from .mean import Mean
from .mgda import MGDA
from .moco import MoCo
from .moving_average import MovingAverageWeights
from .nash_mtl import NashMTL
from .pcgrad import PCGrad
from .sum import Sum
from .task_clipping import ClipTaskGradients
from .upgrad import UPGrad

__all__ = [
    "ABSENT",
    "DBMTL",
    "GUARANTEES",
    "ILL_CONDITIONED",
    "IMTL",
    "IMTLG",
    "MGDA",
    "NON_FINITE",
    "NOT_CONVERGED",
    "RANK_DEFICIENT",
    "STATIONARY",
    "TOO_FEW",
    "Aggregator",
    "AlignedMTL",
    "CAGrad",
    "ClipTaskGradients",
    "ConFIG",
    "DualProj",
    "EqualizeNorms",
    "EveryN",
    "FairGrad",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GradientAggregator",
    "GramianAggregator",
    "Krum",
    "Mean",
    "MoCo",
    "MovingAverageWeights",
    "NashMTL",
    "PCGrad",
    "Problem",
    "RandomSource",
    "Solution",
    "Sum",
    "UPGrad",
    "Update",
]
