"""``polytask methods``: everything that can be chosen by name."""

from typing import Annotated

import typer

_RATES = (
    "K is the number of tasks. The rate is the effective learning rate, in units of that of the "
    "mean of the gradients: choose the learning rate with the method. Promises: docs/balancing.md."
)


def methods(
    family: Annotated[
        str | None,
        typer.Argument(metavar="[FAMILY]", help="Only this family, such as balancing or task."),
    ] = None,
) -> None:
    """List everything that can be chosen by name.

    For balancing also what each method measures, promises, and how its scale changes the rate.
    """
    from rich.text import Text

    from polytask.config.catalogue import FAMILIES
    from polytask.config.catalogue import methods as listed

    from .console import output, table

    console = output()
    families = [family] if family is not None else list(FAMILIES)
    for name in families:
        found = listed(name)
        made = table("name", "what it does", rest="what it does", wrap=True)
        console.print(Text.assemble((name, "bold"), (f"  {FAMILIES[name]}", "dim")))
        for method in found:
            costs = method.cost != "none" and family != "balancing"  # said with the facts below
            facts = [f"Costs {method.cost}"] * costs + [method.reference]
            what = Text(method.one_line)
            shown = "; ".join(fact for fact in facts if fact)
            if shown:
                what.append(f" {shown}.", style="dim")
            if family == "balancing":
                from polytask.config.balance_facts import facts_of_name

                what.append(f"\n{facts_of_name(method.name).words()}", style="dim")
            made.add_row(Text(method.name, no_wrap=True), what)
        console.print(made)
        if family == "balancing":
            console.print(Text(_RATES, style="dim"))
        console.print()
