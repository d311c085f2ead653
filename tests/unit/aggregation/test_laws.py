"""Every aggregation method obeys the laws of the family."""

import pytest

from polytask.aggregation import (
    DBMTL,
    IMTL,
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    ClipTaskGradients,
    ConFIG,
    DualProj,
    EqualizeNorms,
    EveryN,
    FairGrad,
    GradDrop,
    GradNorm,
    GradVac,
    GramianAggregator,
    Krum,
    Mean,
    MoCo,
    MovingAverageWeights,
    NashMTL,
    PCGrad,
    Sum,
    UPGrad,
)
from polytask.testing import AggregatorLaws


class OfMany(GramianAggregator):
    """A method on tasks that are the present ones of a table with more."""

    def __init__(self, method):
        super().__init__()
        self.method, self.guarantees, self.scale = method, method.guarantees, method.scale

    def weigh(self, problem):
        return self.method.weigh(problem._replace(num_tasks=100))


METHODS = {
    "mean": Mean,
    "sum": Sum,
    "upgrad": UPGrad,
    "dualproj": DualProj,
    "mgda": MGDA,
    "mgda-l2": lambda: MGDA("l2"),
    "mgda-loss": lambda: MGDA("loss"),
    "mgda-loss+": lambda: MGDA("loss+"),
    "cagrad": CAGrad,
    "cagrad-square": lambda: CAGrad(0.5, "square"),
    "cagrad-zero": lambda: CAGrad(0.0),
    "pcgrad": PCGrad,
    "gradvac": GradVac,
    "imtl-g": IMTLG,
    "imtl": IMTL,
    "imtl-fast": lambda: IMTL(0.5),
    "nash-mtl": NashMTL,
    "nash-mtl-clipped": lambda: NashMTL(max_norm=1.0),
    "fairgrad": FairGrad,
    "fairgrad-half": lambda: FairGrad(0.5),
    "fairgrad-two": lambda: FairGrad(2.0),
    "fairgrad-zero": lambda: FairGrad(0.0),
    "aligned-mtl": AlignedMTL,
    "aligned-mtl-median": lambda: AlignedMTL(sigma="median"),
    "aligned-mtl-rmse": lambda: AlignedMTL(sigma="rmse"),
    "config": ConFIG,
    "gradnorm": GradNorm,
    "gradnorm-relative": lambda: GradNorm(relative=True),
    "krum": Krum,
    "krum-distances": lambda: Krum(squared=False),
    "krum-outliers": lambda: OfMany(Krum(2)),
    "multi-krum": lambda: OfMany(Krum(1, selected=3)),
    "multi-krum-distances": lambda: OfMany(Krum(2, selected=2, squared=False)),
    "average-krum": lambda: MovingAverageWeights(Krum()),
    "every-2-equal-krum": lambda: EveryN(EqualizeNorms(Krum()), 2),
    "graddrop": GradDrop,
    "moco": MoCo,
    "moco-l2": lambda: MoCo(normalization="l2"),
    "moco-loss+": lambda: MoCo(normalization="loss+"),
    "db-mtl": DBMTL,
    "db-mtl-fading": lambda: DBMTL(beta=0.5, sigma=0.5),
    "every-2-upgrad": lambda: EveryN(UPGrad(), 2),
    "every-3-gradvac": lambda: EveryN(GradVac(), 3),
    "average-mgda": lambda: MovingAverageWeights(MGDA()),
    "clip-upgrad": lambda: ClipTaskGradients(UPGrad(), 2.0),
    "clip-sum": lambda: ClipTaskGradients(Sum(), 2.0),
    "equal-pcgrad": lambda: EqualizeNorms(PCGrad()),
    "equal-upgrad-one": lambda: EqualizeNorms(UPGrad(), "one"),
    "equal-sum-minimum": lambda: EqualizeNorms(Sum(), "minimum"),
    "average-mean": lambda: MovingAverageWeights(Mean()),
    "average-every-2-mgda": lambda: MovingAverageWeights(EveryN(MGDA(), 2), 0.5),
    "every-3-clip-upgrad": lambda: EveryN(ClipTaskGradients(UPGrad(), 2.0), 3),
    "every-2-gradnorm": lambda: EveryN(GradNorm(), 2),
    "every-2-every-2-nash": lambda: EveryN(EveryN(NashMTL(), 2), 2),
    "clip-equal-cagrad": lambda: ClipTaskGradients(EqualizeNorms(CAGrad()), 2.0),
    "equal-average-every-fairgrad": lambda: EqualizeNorms(
        MovingAverageWeights(EveryN(FairGrad(2.0), 2))
    ),
    "nested": lambda: EveryN(MovingAverageWeights(EqualizeNorms(PCGrad())), 2),
}


@pytest.mark.parametrize("name", METHODS)
class TestAllMethods(AggregatorLaws):
    @pytest.fixture
    def aggregator(self, name):
        return METHODS[name]()
