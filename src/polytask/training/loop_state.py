"""Everything that decides how a run goes on, as one document, and back."""

from typing import TYPE_CHECKING, Any

from .history import History

if TYPE_CHECKING:
    from .loop import Loop


def loop_state(loop: "Loop") -> dict[str, Any]:
    """The state of a run between two updates."""
    plan = loop.plan
    plateau, averaging = plan.plateau, plan.defence.averaging
    lookahead = plan.defence.lookahead
    return {
        "model": dict(loop.model.state_dict()),
        "kept": loop.kept.state_dict(),
        "optimizer": loop.optimizer.state_dict(),
        "balance": dict(plan.balance.state_dict()),
        "stopping": plan.stopping.state_dict(),
        "plateau": plateau.state_dict() if plateau else None,
        "penalties": loop.penalties.state_dict() if loop.penalties else None,
        "lookahead": lookahead.state_dict() if lookahead else None,
        "averaging": averaging.state_dict() if averaging else None,
        "teaching": loop.teaching.state_dict() if loop.teaching else None,
        "batches": loop.train.state_dict(),
        "random": loop.random.state_dict(),
        "step": loop.step.state_dict(),
        "history": loop.history.to_json(),
        "epoch": loop.epoch,
        "consecutive_skips": loop.consecutive_skips,
    }


def restore_loop(loop: "Loop", state: dict[str, Any]) -> None:
    """The inverse of `loop_state`, for a loop that was made in the same way."""
    plan = loop.plan
    loop.model.load_state_dict(state["model"])
    loop.kept.load_state_dict(state["kept"], loop.step.totals.device)
    loop.optimizer.load_state_dict(state["optimizer"])
    plan.balance.load_state_dict(state["balance"])
    plan.stopping.load_state_dict(state["stopping"])
    if plan.plateau is not None:
        plan.plateau.load_state_dict(state["plateau"])
    if loop.penalties is not None:
        loop.penalties.load_state_dict(state["penalties"])
    if plan.defence.lookahead is not None:
        plan.defence.lookahead.load_state_dict(state["lookahead"])
    if plan.defence.averaging is not None:
        plan.defence.averaging.load_state_dict(state["averaging"])
    if loop.teaching is not None:
        loop.teaching.load_state_dict(state["teaching"])
    loop.train.load_state_dict(state["batches"])
    loop.step.load_state_dict(state["step"])
    loop.history = History.from_json(state["history"])
    loop.epoch = state["epoch"]
    loop.consecutive_skips = state["consecutive_skips"]
    if loop.frozen is not None:
        loop.frozen.freeze(plan.stopping.settled)
    loop.random.load_state_dict(state["random"])
