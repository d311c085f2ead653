"""Computes what reports show; reads, never writes."""

from .advice import Advice, advise
from .baselines import LinearBaseline, linear_baseline
from .bootstrap import Differences, Intervals, paired_bootstrap
from .build import build_report
from .calibration import Calibration, ReliabilityBin, calibrate
from .data_card import DataCard, TaskCard, describe_data
from .evaluate import TaskEvaluation, evaluate, evaluate_task, gaps, hard
from .gap import Gap, bootstrap_gaps, final_gaps
from .geometry import GeometrySums, TaskGeometry
from .imbalance import Imbalance, find_imbalances
from .interplay import Interplay, Pair, ShareCurve, describe_interplay
from .judge import Judgement, judge, too_few
from .permutation import PermutationTest, permutation_test
from .predictions import Outputs, TaskOutputs, collect, constant_outputs
from .regret import Regret, regret_matrix
from .residuals import Residuals, measure_residuals
from .rows import ColumnRow, Comparison, MetricRow, SetRow, TaskRow, Together
from .run_report import SCHEMA_VERSION, RunReport
from .structure import (
    HeadSpectrum,
    LayerRow,
    PenaltyRow,
    SelectedFeature,
    Structure,
    measure_structure,
)
from .trunk_gradients import TrunkGradients, measure_trunk_gradients
from .uncertainty import SpreadBin, Uncertainty, spread_against_error
from .verdict import Verdict, verdicts

__all__ = [
    "SCHEMA_VERSION",
    "Advice",
    "Calibration",
    "ColumnRow",
    "Comparison",
    "DataCard",
    "Differences",
    "Gap",
    "GeometrySums",
    "HeadSpectrum",
    "Imbalance",
    "Interplay",
    "Intervals",
    "Judgement",
    "LayerRow",
    "LinearBaseline",
    "MetricRow",
    "Outputs",
    "Pair",
    "PenaltyRow",
    "PermutationTest",
    "Regret",
    "ReliabilityBin",
    "Residuals",
    "RunReport",
    "SelectedFeature",
    "SetRow",
    "ShareCurve",
    "SpreadBin",
    "Structure",
    "TaskCard",
    "TaskEvaluation",
    "TaskGeometry",
    "TaskOutputs",
    "TaskRow",
    "Together",
    "TrunkGradients",
    "Uncertainty",
    "Verdict",
    "advise",
    "bootstrap_gaps",
    "build_report",
    "calibrate",
    "collect",
    "constant_outputs",
    "describe_data",
    "describe_interplay",
    "evaluate",
    "evaluate_task",
    "final_gaps",
    "find_imbalances",
    "gaps",
    "hard",
    "judge",
    "linear_baseline",
    "measure_residuals",
    "measure_structure",
    "measure_trunk_gradients",
    "paired_bootstrap",
    "permutation_test",
    "regret_matrix",
    "spread_against_error",
    "too_few",
    "verdicts",
]
