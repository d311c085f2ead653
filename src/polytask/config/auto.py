"""Options that say "auto", decided from the rest of the run."""

from .run import RunConfig


def decide(run: RunConfig) -> RunConfig:
    """The run with every ``auto`` replaced; the effective run file shows the decision.

    Balancing: scheduled if task weights are scheduled, fixed if weights are given, pooled for a
    long table (each row has one label, so each row gets one vote), else equal.

    Args:
        run: What the user said.

    Example:
        >>> long = RunConfig(targets=({"name": "y"},), data={"task_column": "school"})
        >>> decide(long).balance.name
        'pooled'
    """
    balance = run.balance
    if balance.name != "auto":
        return run
    if balance.schedule:
        name = "scheduled"
    elif balance.weights or any(target.weight != 1.0 for target in run.targets):
        name = "fixed"
    else:
        name = "equal" if run.data.task_column is None else "pooled"
    return run.model_copy(update={"balance": balance.model_copy(update={"name": name})})
