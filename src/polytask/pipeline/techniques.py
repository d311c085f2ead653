"""What was on in a run, in words: (name, strength) pairs for the report."""

from collections.abc import Sequence

from torch.optim import Optimizer

from polytask.config.run import RunConfig
from polytask.optim import Kind, ParameterInfo, Role, describe_groups

from .prepare import Prepared

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
    if model.dropout:
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
        if target.class_weight != "none":
            on.append((f"class weights of {target.name}", target.class_weight))
    if training.stopping != "none" and "valid" in prepared.tables:
        words = f"{training.stopping}, patience {training.patience} epochs, best weights restored"
        on.append(("early stopping", words))
    return on


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
