"""What to try next: ranked, with the expected direction and the arguments to type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from polytask.data.finding import Finding

from .imbalance import Imbalance
from .verdict import Verdict

ARGUMENTS: dict[str, str] = {
    "defend": "--defence strong",
    "dropout": "--set model.dropout={dropout}",
    "decay": "--set optimizer.weight_decay={decay}",
    "stop": "--set training.stopping=regret",
    "mixup": "--set inputs.mixup=0.2",
    "small": "--defence small",
    "linear": "--defence linear",
    "plain": "--defence safe",
    "wider": "--set model.width={width}",
    "deeper": "--set model.depth={depth}",
    "longer": "--set training.epochs={epochs}",
    "slower": "--set optimizer.learning_rate={rate}",
    "average": "--set averaging.name=ema",
    "each": "--set training.keep=per-task",
    "distil": "--set training.stopping=distil",
    "alone": "--set distillation.teacher=single-task",
    "validate": "--set split.valid={valid}",
}
"""Every command line that is ever suggested, with its places for numbers."""
MIXING = ("mixup", "c_mixup", "cutmix", "manifold_mixup")
"""Options of which a run has one."""
FEW_ROWS = 2000
FEW_LABELS = 200
APART = 3.0
"""Own best epochs whose largest is more than this many times the smallest lie far apart."""
SHOWN = 3
_OTHERS = "Loss of the other tasks down."
_IF_IT_HELPS = {
    "domination": _OTHERS,
    "weight": _OTHERS,
    "solver": "Updates that are what the method promises.",
}
"""Imbalances that are not about the tasks which lose by them."""


@final
@dataclass(frozen=True)
class Advice:
    """One thing to try.

    Args:
        words: What and why, one sentence.
        direction: What should move where, if it helps.
        command: Arguments to append to ``polytask fit``; empty: not a matter of options.
        tasks: The tasks it is about; empty: the whole run.
    """

    words: str
    direction: str
    command: str = ""
    tasks: tuple[str, ...] = ()


def advise(
    verdicts: Sequence[Verdict],
    *,
    settings: Mapping[str, Any] | None = None,
    findings: Sequence[Finding] = (),
    labels: Sequence[int] = (),
    rows: int | None = None,
    against_single: Mapping[str, str] | None = None,
    imbalances: Sequence[Imbalance] = (),
) -> tuple[Advice, ...]:
    """Things to try after a run, the most urgent first; every command appears once.

    First what makes the figures untrustworthy (severe findings in the table), then what the
    verdicts ask for, in their order of precedence, then what could be better although nothing is
    wrong. Nothing is suggested that is already on, as far as `settings` tells.

    Args:
        verdicts: Of all tasks.
        settings: The effective run configuration as nested JSON values; missing keys count as
            the defaults.
        findings: What was found in the table.
        labels: Training labels per task.
        rows: Training rows.
        against_single: Task → verdict against one network for this task alone (``worse``, ...).
        imbalances: `find_imbalances` of the run.

    Example:
        >>> from polytask.diagnostics.verdict import VerdictNumbers
        >>> numbers = VerdictNumbers(labels=200, kept_epoch=40, best_epoch=9, last_epoch=40)
        >>> verdict = Verdict("y", "overfits", "...", (), "...", numbers)
        >>> [advice.command for advice in advise([verdict])][:2]
        ['--defence strong', '--set model.dropout=0.3']
    """
    now = _Settings(settings or {})
    found = [
        *_severe(findings),
        *_overfitting(verdicts, now),
        *_linear(verdicts, now),
        *_underfitting(verdicts, now),
        *_unrest(verdicts, now),
        *_epochs(verdicts, now),
        *_imbalances(imbalances),
        *_negative_transfer(against_single or {}, now),
        *_few(verdicts, labels, rows, now),
    ]
    seen: set[str] = set()
    kept = []
    for advice in found:
        key = advice.command or advice.words
        if key not in seen:
            seen.add(key)
            kept.append(advice)
    return tuple(kept)


@final
class _Settings:
    """Reads the effective run configuration, with the defaults of a run file."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings

    def get(self, section: str, option: str, default: Any) -> Any:
        """The value of ``section.option``, or the default."""
        values = self._settings.get(section)
        value = values.get(option) if isinstance(values, Mapping) else None
        return default if value is None else value

    @property
    def defence(self) -> str:
        """The preset."""
        return str(self._settings.get("defence", "safe"))

    def command(self, name: str) -> str:
        """The arguments of that name, with numbers that go one step beyond the present ones."""
        dropout = float(self.get("model", "dropout", 0.1))
        decay = float(self.get("optimizer", "weight_decay", 3e-4))
        return ARGUMENTS[name].format(
            dropout=f"{min(max(dropout + 0.2, 0.2), 0.5):.1f}",
            decay=f"{max(decay * 10, 3e-4):g}",
            width=2 * int(self.get("model", "width", 256)),
            depth=1 + int(self.get("model", "depth", 2)),
            epochs=2 * int(self.get("training", "epochs", 256)),
            rate=f"{float(self.get('optimizer', 'learning_rate', 1e-3)) / 3:.1g}",
            valid=f"{min(float(self.get('split', 'valid', 0.2)) + 0.1, 0.4):.1f}",
        )


def _holding(verdicts: Sequence[Verdict], word: str) -> tuple[str, ...]:
    return tuple(v.task for v in verdicts if word == v.word or word in v.also)


def _named(tasks: Sequence[str]) -> str:
    if len(tasks) > SHOWN:
        return f"{', '.join(tasks[:SHOWN])} and {len(tasks) - SHOWN} more"
    return " and ".join([", ".join(tasks[:-1]), tasks[-1]] if len(tasks) > 1 else tasks)


def _severe(findings: Sequence[Finding]) -> list[Advice]:
    return [
        Advice(
            f"{finding.sentence} {finding.advice}".strip(),
            "Figures that can be believed; they may look worse.",
        )
        for finding in findings
        if finding.severity == "danger"
    ]


def _overfitting(verdicts: Sequence[Verdict], now: _Settings) -> list[Advice]:
    tasks = _holding(verdicts, "overfits")
    if not tasks:
        return []
    down = "Validation loss down, training loss up."
    found = []
    if now.get("training", "stopping", "regret") == "none":
        found.append(
            Advice(
                f"Stop early: {_named(tasks)} overfit, and the weights of the last epoch are kept.",
                "Validation loss back to that of the best epoch.",
                now.command("stop"),
                tasks,
            )
        )
    if now.defence == "off":
        found.append(Advice("Switch the usual defence on.", down, now.command("plain"), tasks))
    elif now.defence == "safe":
        words = f"Use the stronger preset: an ensemble in one network, for {_named(tasks)}."
        found.append(Advice(words, down, now.command("defend"), tasks))
    learned = now.get("model", "concrete_dropout", default=False)
    if float(now.get("model", "dropout", 0.1)) < 0.5 and not learned:
        words = f"Raise dropout, as {_named(tasks)} overfit."
        found.append(Advice(words, down, now.command("dropout"), tasks))
    words = f"Raise the weight decay, as {_named(tasks)} overfit."
    found.append(Advice(words, down, now.command("decay"), tasks))
    if not any(now.get("inputs", option, 0.0) for option in MIXING):
        found.append(Advice("Mix rows with each other.", down, now.command("mixup"), tasks))
    return found


def _linear(verdicts: Sequence[Verdict], now: _Settings) -> list[Advice]:
    tasks = tuple(
        v.task
        for v in verdicts
        if v.word != "too few rows"
        and v.numbers.over_linear is not None
        and v.numbers.over_linear_error is not None
        and v.numbers.over_linear < -v.numbers.over_linear_error
    )
    if not tasks or now.defence == "linear":
        return []
    words = f"Use the linear model: it is better than the network on {_named(tasks)}."
    return [
        Advice(words, "Validation loss down, and seconds to fit.", now.command("linear"), tasks)
    ]


def _underfitting(verdicts: Sequence[Verdict], now: _Settings) -> list[Advice]:
    tasks = _holding(verdicts, "underfits")
    falling = tuple(v.task for v in verdicts if "still improving" in v.trajectory)
    found = []
    if falling:
        words = f"Train longer: {_named(falling)} still got better when the epochs ran out."
        found.append(Advice(words, "Both losses down.", now.command("longer"), falling))
    if tasks:
        both, names = "Both losses down; if not, there is nothing more to find.", _named(tasks)
        found += [
            Advice(f"Use a wider network for {names}.", both, now.command("wider"), tasks),
            Advice(f"Use a deeper network for {names}.", both, now.command("deeper"), tasks),
        ]
    return found


def _unrest(verdicts: Sequence[Verdict], now: _Settings) -> list[Advice]:
    tasks = _holding(verdicts, "unstable")
    if not tasks:
        return []
    calmer = "A smoother validation curve; the kept epoch is less a matter of luck."
    words = f"Lower the learning rate: the loss of {_named(tasks)} jumps."
    found = [Advice(words, calmer, now.command("slower"), tasks)]
    if now.get("averaging", "name", "none") == "none":
        found.append(Advice("Average the weights.", calmer, now.command("average"), tasks))
    return found


def _epochs(verdicts: Sequence[Verdict], now: _Settings) -> list[Advice]:
    known = [v for v in verdicts if v.word != "too few rows" and v.numbers.best_epoch]
    best = sorted(known, key=lambda v: v.numbers.best_epoch)
    if len(best) < 2 or best[-1].numbers.best_epoch <= APART * best[0].numbers.best_epoch:
        return []
    # Far apart, but one epoch is as good as another: nobody loses at the kept one.
    losing = tuple(v.task for v in best if _loses(v))
    if not losing:
        return []
    first, last = best[0], best[-1]
    words = (
        f"The tasks are best at very different epochs ({first.task} at "
        f"{first.numbers.best_epoch}, {last.task} at {last.numbers.best_epoch}), which costs "
        f"{_named(losing)}"
    )
    down = f"Validation loss of {_named(losing)} down."
    found = []
    if now.get("training", "keep", "compromise") != "per-task":
        command = now.command("each")
        found.append(Advice(f"{words}: keep each at its own.", down, command, losing))
    if now.get("training", "stopping", "regret") != "distil":
        command = now.command("distil")
        found.append(Advice(f"{words}: hold finished tasks where they are.", down, command, losing))
    return found


def _loses(verdict: Verdict) -> bool:
    numbers = verdict.numbers
    if numbers.kept is None or numbers.best is None:
        return False
    return numbers.kept - numbers.best > max(
        numbers.standard_error or 0.0, 0.02 * abs(numbers.best)
    )


def _negative_transfer(against: Mapping[str, str], now: _Settings) -> list[Advice]:
    tasks = tuple(task for task, verdict in against.items() if verdict == "worse")
    if not tasks or now.get("distillation", "teacher", "none") != "none":
        return []
    words = f"A network of its own is better for {_named(tasks)}: let it teach the shared one."
    return [Advice(words, f"Loss of {_named(tasks)} down.", now.command("alone"), tasks)]


def _imbalances(found: Sequence[Imbalance]) -> list[Advice]:
    return [
        Advice(
            f"{one.action} {one.sentence}",
            _IF_IT_HELPS.get(one.kind) or f"Loss of {_named(one.tasks)} down.",
            one.command,
            one.tasks,
        )
        for one in found
    ]


def _few(
    verdicts: Sequence[Verdict], labels: Sequence[int], rows: int | None, now: _Settings
) -> list[Advice]:
    found = []
    unjudged = _holding(verdicts, "too few rows")
    if unjudged:
        words = f"Give more rows to validation: too few to judge {_named(unjudged)}."
        found.append(Advice(words, "A verdict.", now.command("validate"), unjudged))
    few = (rows is not None and rows < FEW_ROWS) or any(0 < n < FEW_LABELS for n in labels)
    if few and now.defence not in ("small", "linear"):
        words = "There are few labels: use the preset for few rows."
        found.append(Advice(words, "Validation loss down.", now.command("small")))
    return found
