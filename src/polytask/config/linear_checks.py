"""The preset "linear" trains no network: options of networks are refused beside it."""

from polytask.errors import InvalidArgument

from .run import RunConfig

LINEAR_IGNORES = (
    "model", "optimizer", "schedule", "balance", "penalties", "inputs", "update", "averaging",
    "distillation",
)  # fmt: skip
"""Sections that say how a network is trained: the preset linear trains none."""

LINEAR_TARGET_IGNORES = {"weight": 1.0, "confidence_penalty": 0.0}
"""Options of a target that such a model has no use for, with the value that says nothing."""


def check_linear(run: RunConfig, explicit: bool) -> None:
    """Refuses options that say how a network is trained.

    Args:
        run: With the preset linear.
        explicit: An option that was named counts even if its value is the default.

    Raises:
        InvalidArgument: Naming the option.
    """
    for section in LINEAR_IGNORES:
        value = getattr(run, section)
        default = type(run).model_fields[section].get_default()
        named = explicit and section in run.model_fields_set and bool(value) and value != ()
        if value != default or (named and not isinstance(value, tuple) and value.model_fields_set):
            raise InvalidArgument(
                f'`{section}` has no effect here: `defence` = "linear" fits a linear model, not a '
                "network. Leave it out, or choose another preset."
            )
    training = run.training.model_fields_set - {"device", "threads"}
    if training:
        raise InvalidArgument(
            f'`training.{min(training)}` has no effect here: `defence` = "linear" fits a linear '
            "model, not a network. Leave it out, or choose another preset."
        )
    for target in run.targets:
        for option, off in LINEAR_TARGET_IGNORES.items():
            if getattr(target, option) != off:
                raise InvalidArgument(
                    f"`{option}` of target {target.name!r} has no effect here: a linear model fits "
                    "every target by itself, to its loss alone. Leave it out."
                )
