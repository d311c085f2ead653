"""What a run does against overfitting, beyond model, loss and optimizer, in one value."""

import re
from dataclasses import dataclass
from typing import final

from polytask.optim import Schedule
from polytask.regularization.inputs import Adversarial, InputRegularizer
from polytask.regularization.objective import InputGradient, Penalty
from polytask.regularization.outputs import Distillation, TeacherOutputs
from polytask.regularization.update import Climb, GradientNoise, Lookahead, TaskSAM
from polytask.regularization.weights import WeightAverage


@final
@dataclass(frozen=True)
class Defence:
    """The techniques of a run, each at its own place in the update.

    Args:
        penalties: Terms λR(w); they act by their proximal step after the optimizer, or by their
            gradient, added to the objective once, after balancing.
        input_gradient: Penalty on the gradient of the loss with respect to the inputs.
        inputs: Applied to every training batch, in this order.
        adversarial: Trains on every row a second time, moved against the model.
        sam: Takes the gradient at a perturbed point: `SAM` or `ASAM`.
        task_sam: Takes every task's gradient at a perturbed point of its own.
        noise: Added to the gradient after clipping.
        lookahead: Steps back every few updates; without `averaging`, its slow weights are measured,
            kept and predicted with.
        averaging: The averaged weights are measured, kept and predicted with.
        dropout: Factor on every dropout probability over the run; None: constant.
        decay: Factor on the weight decay over the run; None: constant.
        distillation: How losses on labels and on a teacher's outputs share the objective.
        teacher: Outputs for the training rows; needed with `distillation`.

    Example:
        >>> from polytask.regularization.objective import L1
        >>> [type(penalty).__name__ for penalty in Defence(penalties=(L1(1e-3),)).penalties]
        ['L1']
    """

    penalties: tuple[Penalty, ...] = ()
    input_gradient: InputGradient | None = None
    inputs: tuple[InputRegularizer, ...] = ()
    adversarial: Adversarial | None = None
    sam: Climb | None = None
    task_sam: TaskSAM | None = None
    noise: GradientNoise | None = None
    lookahead: Lookahead | None = None
    averaging: WeightAverage | None = None
    dropout: Schedule | None = None
    decay: Schedule | None = None
    distillation: Distillation | None = None
    teacher: TeacherOutputs | None = None

    @property
    def measured(self) -> WeightAverage | None:
        """The weights that count now; None: the model's own."""
        held = (self.averaging, self.lookahead)
        return next((weights for weights in held if weights is not None and weights.active), None)

    def describe(self) -> list[tuple[str, str]]:
        """Every technique that is on, with its strength in words: (name, words)."""
        on: list[tuple[str, str]] = [
            (_name(penalty), penalty.describe()) for penalty in self.penalties
        ]
        single = (
            self.input_gradient, *self.inputs, self.adversarial,
            self.sam, self.task_sam, self.noise, self.lookahead, self.averaging,
        )  # fmt: skip
        on += [(_name(technique), technique.describe()) for technique in single if technique]
        if self.dropout is not None:
            on.append(("dropout schedule", "the dropout probabilities follow it over the run"))
        if self.decay is not None:
            on.append(("weight decay schedule", "the weight decay follows it over the run"))
        if self.distillation is not None:
            on.append(("distillation", self.distillation.describe()))
        return on

    def summary(self) -> str:
        """All of it in one line; a resumed run must have the same."""
        return "; ".join(f"{name}: {words}" for name, words in self.describe())


def _name(technique: object) -> str:
    """``SparseGroupLasso`` → ``sparse group lasso``; abbreviations stay as they are."""
    name = type(technique).__name__
    if name.isupper() or len(name) <= 3:
        return name
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]*", name)
    return " ".join(w if len(w) > 1 and w.isupper() else w.lower() for w in words)
