"""What was on in a run, in words: (name, strength) pairs for the report."""

from collections.abc import Sequence

from torch import nn
from torch.optim import Optimizer

from polytask.backbones import InputGates, L0Gates
from polytask.backbones.concrete_dropout import learned_dropout
from polytask.config.build import GATE_RATE, build_defence, build_penalties
from polytask.config.run import RunConfig
from polytask.data import FeatureEncoder
from polytask.optim import Kind, ParameterInfo, Role, describe_groups
from polytask.regularization.objective import Penalty

from .prepare import Prepared
from .refit import number_of_splits

WHY = {
    Kind.BIAS: "a bias only shifts, and shrinking it moves predictions towards 0",
    Kind.NORM: "the next layer undoes the scale of a normalisation",
    Kind.EMBEDDING: "rare levels would be decayed in updates that do not see them",
    Kind.MISSING: "the vectors of missing and unseen values",
    Kind.SCALAR: "a scalar such as a task weight is no weight of the network",
    Kind.WEIGHT: "excluded by the settings, or a penalty of its own acts on them",
}
"""Kind of a parameter → why it is not decayed."""
NAMES = {
    Kind.BIAS: "biases",
    Kind.NORM: "normalisation",
    Kind.EMBEDDING: "embeddings",
    Kind.MISSING: "missing-embeddings",
    Kind.SCALAR: "scalars",
    Kind.WEIGHT: "weights",
}


def run_techniques(prepared: Prepared, run: RunConfig) -> list[tuple[str, str]]:
    """What the run file switches on, with its strength in words.

    Args:
        prepared: The table.
        run: Its settings.
    """
    if run.defence == "linear":
        return [("standard scaling", "inputs: mean and deviation of training rows")]
    model, optimizer, training = run.model, run.optimizer, run.training
    on = [
        ("sharing", f"hard: one trunk ({model.backbone}, {model.depth} × {model.width}), "
                    f"{len(prepared.tasks)} heads in {len(prepared.groups)} stacked products"),
        ("balancing", _balancing(run)),
        ("optimizer", f"{optimizer.name}, learning rate {optimizer.learning_rate:g}, "
                      f"schedule {run.schedule.name}"
                      + (f" with warm-up {run.schedule.warmup:g}" if run.schedule.warmup else "")),
    ]  # fmt: skip
    if run.data.numeric_scaling == "robust":
        on.append(("robust scaling, smooth clip", "inputs: median and quartiles of training rows"))
    if model.concrete_dropout:
        on.append(("concrete dropout", _concrete(run)))
    elif model.dropout:
        on.append(("dropout", f"{model.dropout:g} after every hidden activation"))
    if optimizer.weight_decay:
        per_step = optimizer.learning_rate * optimizer.weight_decay
        words = (
            f"{optimizer.weight_decay:g} decoupled (learning rate × decay = {per_step:g} per step)"
            if optimizer.name == "adamw"
            else f"{optimizer.weight_decay:g} coupled (added to the gradient)"
        )
        on.append(("weight decay", f"{words}; never on biases, norms and missing-embeddings"))
    if optimizer.clip_norm:
        on.append(("gradient clipping", f"global norm at most {optimizer.clip_norm:g}"))
    for target in run.targets:
        if target.label_smoothing:
            on.append((f"label smoothing of {target.name}", f"{target.label_smoothing:g}"))
        if target.confidence_penalty:
            words = f"{target.confidence_penalty:g} × (log C − entropy) of C classes, training only"
            on.append((f"confidence penalty of {target.name}", words))
        if target.class_weight != "none":
            on.append((f"class weights of {target.name}", target.class_weight))
    if model.gates:
        rate = optimizer.rates.get("role:gate", GATE_RATE)
        on.append(("input gates", f"{L0Gates(model.gates).describe()}, learning rate × {rate:g}"))
    if model.head_dropout:
        words = f"{model.head_dropout:g} on the features of every head, with a mask of its own"
        on.append(("head dropout", words))
    if model.dropout_samples > 1:
        words = f"{model.dropout_samples} masks of head dropout per row, their losses averaged"
        on.append(("multi-sample dropout", words))
    if model.backbone == "residual-mlp" and model.drop_path:
        on.append(("stochastic depth", f"up to {model.drop_path:g}, rising with depth"))
    if model.drop_connect:
        words = (
            f"{model.drop_connect:g} of the weights of the linear layers, another mask per batch"
        )
        on.append(("DropConnect", words))
    if model.backbone == "tabm":
        on.append(("ensemble", f"{model.members} members that share weights, losses separate"))
    if model.embedding != "none":
        on.append(("numeric embedding", f"{model.embedding}, at most {model.bins} bins per column"))
    if training.stopping != "none" and "valid" in prepared.tables:
        kept = "every task's own best weights" if training.keep == "per-task" else "best weights"
        words = f"{training.stopping}, patience {training.patience} epochs, {kept} restored"
        on.append(("early stopping", words))
    if training.calibrate:
        on.append(("calibration", "one temperature per classification task, on validation rows"))
    return on


def columns_read(
    model: nn.Module, encoder: FeatureEncoder, tasks: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Which columns of the table the gates of a model leave open, in words; none without gates.

    Args:
        model: With its kept weights.
        encoder: Gives the names of the columns.
        tasks: That predict with these weights, where others have weights of their own.
    """
    found = [module for module in model.modules() if isinstance(module, InputGates)]
    if not found:
        return []
    (gates,) = found
    names = [encoder.sources[group[0]] for group in gates.groups]
    shut = dict(zip(names, gates.gate.closed().tolist(), strict=True))
    ordered = [column.name for column in encoder.columns if column.name in shut]
    read, left = ([name for name in ordered if shut[name] is side] for side in (False, True))
    words = f"{len(read)} of {len(names)}: {', '.join(read) or 'none'}"
    title = f"columns read by {', '.join(tasks)}" if tasks else "columns read"
    return [(title, words + (f"; gates shut: {', '.join(left)}" if left else ""))]


def planned_techniques(prepared: Prepared, run: RunConfig) -> list[tuple[str, str]]:
    """What a run will do against overfitting, before it begins; repeated names are joined.

    Args:
        prepared: The table.
        run: Decided settings.
    """
    if run.defence == "linear":
        forms = "ridge, mean-regularised, L2,1 or nuclear: the best of a cross-validation"
        return [*run_techniques(prepared, run), ("penalty across tasks", forms)]
    plain = [
        row for row in run_techniques(prepared, run)
        if row[0] not in ("sharing", "balancing", "optimizer")
    ]  # fmt: skip
    penalties = [
        (type(penalty).__name__ if not isinstance(penalty, Penalty) else penalty.name
         or type(penalty).__name__, penalty.describe())
        for penalty in build_penalties(run.penalties)
    ]  # fmt: skip
    more = [*penalties, *build_defence(run, prepared.groups).describe()]
    if run.training.refit:
        splits = number_of_splits(prepared, run)
        where = f"the mean best epoch of {splits} splits" if splits > 1 else "the best epoch"
        more.append(("refit", f"once more on all rows, for {where}"))
    return [*plain, *more]


def learned_words(
    model: nn.Module, run: RunConfig, tasks: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """The dropout probabilities that a model has learned, in words; none if they are not learned.

    Args:
        model: With its kept weights.
        run: Its settings.
        tasks: That predict with these weights, where others have weights of their own.
    """
    learned = learned_dropout(model)
    if not learned:
        return []
    words = f"learned, layer by layer: {', '.join(f'{p:.3g}' for p in learned)}"
    if tasks:
        return [(f"concrete dropout of {', '.join(tasks)}", words)]
    return [("concrete dropout", f"{_concrete(run)}; {words}")]


def _concrete(run: RunConfig) -> str:
    model = run.model
    scale = model.concrete_length_scale
    return f"from {model.dropout:g} after every hidden activation, prior length-scale {scale:g}"


def _balancing(run: RunConfig) -> str:
    balance = run.balance
    weights = ", ".join(f"{name} {weight:g}" for name, weight in balance.weights.items())
    return f"{balance.name}{f' ({weights}; others 1)' if weights else ''}"


def decay_techniques(optimizer: Optimizer, infos: Sequence[ParameterInfo]) -> list[tuple[str, str]]:
    """Which weights decay shrinks and how fast, and which it leaves alone and why.

    Args:
        optimizer: The optimizer of the run.
        infos: The model's parameters.
    """
    kinds = {info.name: info.kind for info in infos}
    gates = {info.name for info in infos if info.role in (Role.GATE, Role.BALANCE)}
    rows, left = [], dict[str, int]()
    groups = describe_groups(optimizer, infos)
    if not any(group.decayed for group in groups):
        return []
    for group in groups:
        if group.decayed:
            per_step = group.learning_rate * group.weight_decay
            words = f"{group.weight_decay:g} on {_tensors(len(group.names))}"
            if group.half_life is not None:
                words += (
                    f", decoupled: learning rate × decay = {per_step:g} per step, which alone "
                    f"halves a weight in {group.half_life:,.0f} updates"
                )
            else:
                words += ", coupled (added to the gradient)"
            rows.append(words)
            continue
        for name in group.names:
            kind = kinds.get(name, Kind.WEIGHT)
            why = "gates and task weights" if name in gates else f"{NAMES[kind]}: {WHY[kind]}"
            left[why] = left.get(why, 0) + 1
    shrunk = [("weight decay", "; ".join(rows))]
    if left:
        words = "; ".join(f"{_tensors(count)} ({why})" for why, count in left.items())
        shrunk.append(("not decayed", words))
    return shrunk


def _tensors(count: int) -> str:
    return f"{count} tensor" if count == 1 else f"{count} tensors"
