"""The methods that every run chooses among: tasks, backbones, optimizers, splits."""

from .method import Method

_ADAMW = "Loshchilov & Hutter, ICLR 2019, arXiv 1711.05101"

CORE: tuple[Method, ...] = (
    Method(
        "regression",
        "task",
        "polytask.tasks:Regression",
        "A number; squared, absolute or Huber loss on the standardised target.",
    ),
    Method(
        "binary",
        "task",
        "polytask.tasks:Binary",
        "Two classes; one logit, the probability of the positive class.",
    ),
    Method(
        "multiclass",
        "task",
        "polytask.tasks:Multiclass",
        "Three or more classes that exclude each other; cross-entropy.",
    ),
    Method(
        "multilabel",
        "task",
        "polytask.tasks:Multilabel",
        "A group of yes-or-no columns; gaps inside rows are masked.",
    ),
    Method(
        "count", "task", "polytask.tasks:Count", "Counts of events; Poisson loss with log link."
    ),
    Method(
        "mlp",
        "backbone",
        "polytask.backbones:MLP",
        "Layers of linear map, normalisation, activation, dropout: the default.",
    ),
    Method(
        "residual-mlp",
        "backbone",
        "polytask.backbones:ResidualMLP",
        "Blocks of two layers with a shortcut around each: for deeper networks.",
        "two linear maps per unit of depth",
        "Gorishniy et al., NeurIPS 2021, arXiv 2106.11959",
    ),
    Method(
        "tabm",
        "backbone",
        "polytask.backbones:TabM",
        "An ensemble of perceptrons that share weights and learn separately.",
        "up to ten plain steps",
        "Gorishniy, Kotelnikov & Babenko, ICLR 2025, arXiv 2410.24210",
    ),
    Method(
        "hard",
        "sharing",
        "polytask.sharing:HardSharing",
        "All tasks read the same features; only the heads differ.",
        reference="Caruana, Machine Learning 28, 1997",
    ),
    Method("sgd", "optimizer", "torch.optim:SGD", "Momentum and Nesterov; its decay is ridge."),
    Method(
        "adam",
        "optimizer",
        "torch.optim:Adam",
        "Adaptive steps; its decay is rescaled by them.",
        "two numbers per parameter",
        "Kingma & Ba, ICLR 2015, arXiv 1412.6980",
    ),
    Method(
        "adamw",
        "optimizer",
        "torch.optim:AdamW",
        "Adaptive steps with decoupled decay: the default.",
        "two numbers per parameter",
        _ADAMW,
    ),
    Method("constant", "schedule", "polytask.optim:constant", "The same rate all along."),
    Method(
        "cosine",
        "schedule",
        "polytask.optim:cosine",
        "Half a cosine from the full rate to 0.",
        reference="Loshchilov & Hutter, ICLR 2017, arXiv 1608.03983",
    ),
    Method(
        "flat-cosine",
        "schedule",
        "polytask.optim:flat_cosine",
        "The full rate for half of the run, then half a cosine to 0.",
        reference="Holzmüller et al., NeurIPS 2024, arXiv 2407.04491",
    ),
    Method(
        "plateau",
        "schedule",
        "polytask.optim:Plateau",
        "The rate falls when the validation score stops improving.",
    ),
    Method(
        "regret",
        "stopping",
        "polytask.training.stopping:Regret",
        "Best compromise: mean validation loss in units of each task's baseline; the default.",
    ),
    Method(
        "mean",
        "stopping",
        "polytask.training.stopping:Mean",
        "Plain mean of the validation losses; the largest loss decides.",
    ),
    Method(
        "any",
        "stopping",
        "polytask.training.task_stopping:AnyTask",
        "Stops when the first task stops improving.",
    ),
    Method(
        "all",
        "stopping",
        "polytask.training.task_stopping:AllTasks",
        "Stops when every task has stopped improving.",
    ),
    Method(
        "freeze-head",
        "stopping",
        "polytask.training.task_stopping:FreezeHead",
        "A task that stops improving leaves the training; its head no longer moves.",
    ),
    Method(
        "distil",
        "stopping",
        "polytask.training.task_stopping:Distil",
        "A task that stops improving follows the outputs of its own best epoch from then on.",
        "one copy of the weights per task",
        "Lu et al., NAACL 2022 (industry track)",
    ),
    Method(
        "none",
        "stopping",
        "polytask.training.stopping:NoStopping",
        "All epochs run; the last weights are kept.",
    ),
    Method(
        "stratified",
        "split",
        "polytask.data.split:split_table",
        "At random, every label on both sides as far as rows allow: the default.",
    ),
    Method(
        "random",
        "split",
        "polytask.data.split:split_table",
        "At random, without regard to labels: --set split.stratify=false.",
    ),
    Method(
        "group",
        "split",
        "polytask.data.split:split_table",
        "Rows of one group stay on one side: --group COLUMN.",
    ),
    Method(
        "time",
        "split",
        "polytask.data.split:split_table",
        "Validation rows are later than training rows: --time COLUMN.",
    ),
    Method(
        "column",
        "split",
        "polytask.data.split:split_table",
        "A column says train, valid or test: --set data.split=COLUMN.",
    ),
)
