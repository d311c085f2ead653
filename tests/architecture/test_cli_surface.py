"""The command line is a promise: a change here is a change for every script that uses it."""

from typer.main import get_command

from polytask.cli.main import app

SURFACE = {
    "fit": [
        "table", "--target", "--task-column", "--weight", "--id", "--ignore", "--group", "--time",
        "--valid", "--test", "--balance", "--defence", "--penalty", "--config",
        "--set", "--seed", "--out", "--resume", "--quiet/-q",
    ],
    "predict": ["model", "table", "--out", "--task", "--samples"],
    "evaluate": ["model", "table", "--json"],
    "report": ["run", "--open"],
    "methods": ["family"],
    "doctor": [],
    "demo": ["--out"],
}  # fmt: skip


def surface(command):
    """Names of arguments and options in their order."""
    return [
        parameter.name if parameter.param_type_name == "argument" else "/".join(parameter.opts)
        for parameter in command.params
    ]


def test_verbs_and_options_are_frozen():
    found = {name: surface(command) for name, command in get_command(app).commands.items()}
    assert found == SURFACE


def test_global_options_are_frozen():
    assert surface(get_command(app)) == ["--version", "--debug"]


def test_everything_says_what_it_is():
    group = get_command(app)
    for command in [group, *group.commands.values()]:
        assert command.help
        for parameter in command.params:
            assert parameter.help.endswith((".", ").")), parameter.name
