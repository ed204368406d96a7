"""``meshbdd steps``: the vocabulary."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def steps(as_json: bool) -> None:
    """List the phrases that feature files can use, each with an example."""
    from behave.step_registry import registry  # noqa: PLC0415 - slow to import

    import meshbdd.steps  # noqa: F401, PLC0415 - registers them

    found = []
    for matcher in registry.steps["step"]:
        lines = [line.strip() for line in (matcher.func.__doc__ or "").splitlines() if line.strip()]
        example = next((line.removeprefix("Example: ") for line in lines if line.startswith("Example: ")), "")
        found.append({"phrase": matcher.pattern, "meaning": lines[0] if lines else "", "example": example})
    if as_json:
        click.echo(json.dumps({"steps": found}))
        return
    for entry in found:
        click.echo(f"{entry['phrase']}\n    {entry['meaning']}\n    {entry['example']}")
