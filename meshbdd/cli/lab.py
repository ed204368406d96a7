"""``meshbdd lab``: up, down, status, kubeconfig, compile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from meshbdd.cli.output import complain
from meshbdd.errors import BadInput, EnvironmentBroken, MeshbddError
from meshbdd.settings import load_settings


@click.group()
def lab() -> None:
    """The lab: a service mesh on this machine, real Envoy sidecars, no cluster."""


@lab.command()
@click.argument("name", default="default")
@click.option("--no-shop", is_flag=True, help="Without the demo shop.")
@click.option(
    "-f", "--file", "files", multiple=True, type=click.Path(path_type=Path), help="Kubernetes YAML to deploy."
)
@click.option(
    "--mesh", type=click.Choice(["istio", "linkerd"]), default="istio", show_default=True, help="Which mesh it plays."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def up(name: str, no_shop: bool, files: tuple[Path, ...], mesh: str, as_json: bool) -> None:
    """Bring a lab up; returns when every pod is ready."""
    from meshbdd.lab import lifecycle  # noqa: PLC0415 - slow to import

    settings = load_settings()
    info = lifecycle.up(
        name, shop=not no_shop, manifests=files, images=settings.images, cwd=settings.project, mesh=mesh
    )
    if as_json:
        told = {"name": info.name, "url": info.url, "mesh": info.mesh, "kubeconfig": str(info.kubeconfig)}
        click.echo(json.dumps({**told, "prometheus": info.prometheus}))
        return
    click.echo(f"Lab '{info.name}' is up at {info.url}.")
    click.echo(f"  export KUBECONFIG={info.kubeconfig}")
    if info.prometheus:
        click.echo(f"  Prometheus: {info.prometheus}")
    else:
        from meshbdd.lab.prometheus import HOW_TO_INSTALL  # noqa: PLC0415 - slow to import

        click.echo(f"  without Prometheus; to have it: {HOW_TO_INSTALL}")


@lab.command()
@click.argument("name", default="default")
def down(name: str) -> None:
    """Take a lab down; nothing of it stays."""
    from meshbdd.lab import lifecycle  # noqa: PLC0415 - slow to import

    click.echo(f"Lab '{name}' is down." if lifecycle.down(name) else f"There was no lab '{name}'.")


@lab.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(name: str | None, as_json: bool) -> None:
    """Show the labs that run, and their pods."""
    from meshbdd.cluster import Cluster  # noqa: PLC0415 - slow to import
    from meshbdd.lab import lifecycle  # noqa: PLC0415 - slow to import

    labs = [info for info in lifecycle.running() if name in {None, info.name}]
    found: list[dict[str, Any]] = []
    for info in labs:
        cluster = Cluster.connect(info.kubeconfig)
        pods = cluster.list("Pod")
        rows = []
        for pod in pods:
            conditions = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or []}
            ready = conditions.get("Ready", {})
            rows.append(
                {
                    "pod": f"{pod['metadata']['name']}.{pod['metadata']['namespace']}",
                    "ready": ready.get("status") == "True",
                    "why": ready.get("message", ""),
                }
            )
        found.append(
            {
                "name": info.name, "url": info.url, "mesh": info.mesh, "prometheus": info.prometheus,
                "deviations": list(lifecycle.deviations(info.mesh).values()), "pods": rows,
                "refused": _refused(cluster),
            }
        )  # fmt: skip
    if as_json:
        click.echo(json.dumps({"labs": found}))
        return
    if not found:
        click.echo("No lab runs." if name is None else f"No lab '{name}' runs.")
    for told in found:
        click.echo(f"{told['name']}  {told['url']}  {told['mesh']}")
        for row in told["pods"]:
            click.echo(
                f"  {'ready  ' if row['ready'] else 'waiting'} {row['pod']}" + (f": {row['why']}" if row["why"] else "")
            )

        for refusal in told["refused"]:
            click.echo(f"  {_REFUSING[refusal['reason']]} {refusal['object']}, the old configuration stays in force:")
            for line in refusal["message"].splitlines():
                click.echo(f"    {line}")


_REFUSING = {"RefusedByEnvoy": "Envoy refuses", "NotCompiled": "The lab fails to compile"}
"""Why an object is not in force, by the reason that the lab's control plane writes into its status."""


def _refused(cluster: Any) -> list[dict[str, str]]:
    """The objects that Envoy refuses or the lab cannot compile, as their status has it, and the sentences."""
    from meshbdd.cluster.client import ApiFailure  # noqa: PLC0415 - slow to import
    from meshbdd.cluster.kinds import KINDS  # noqa: PLC0415 - slow to import

    found = []
    for kind in KINDS:
        try:
            objects = cluster.list(kind)
        except ApiFailure:  # a lab of another mesh has no such kind
            continue
        for obj in objects:
            for condition in (obj.get("status") or {}).get("conditions") or []:
                if condition.get("type") == "Programmed" and condition.get("reason") in _REFUSING:
                    name = f"{kind} {obj['metadata']['name']} in {obj['metadata'].get('namespace') or 'the cluster'}"
                    found.append({"object": name, "reason": condition["reason"], "message": condition["message"]})
    return found


@lab.command()
@click.argument("name", default="default")
def kubeconfig(name: str) -> None:
    """Print the kubeconfig of a lab."""
    from meshbdd.lab import lifecycle  # noqa: PLC0415 - slow to import

    info = lifecycle.find(name)
    if info is None:
        raise BadInput("MB0220", f"No lab '{name}' runs.", help=f"bring it up: meshbdd lab up {name}")
    click.echo(info.kubeconfig.read_text(), nl=False)


@lab.command(name="compile")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--world", type=click.Path(path_type=Path), help="Services and pods to compile for; the demo shop's if left out."
)
@click.option("--for", "pod", metavar="POD.NAMESPACE", help="The sidecar to compile for; the first pod if left out.")
@click.option(
    "--mesh", type=click.Choice(["istio", "linkerd"]), default="istio", show_default=True, help="Whose resources."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of YAML.")
def compile_(files: tuple[Path, ...], world: Path | None, pod: str | None, mesh: str, as_json: bool) -> None:
    """Show what YAML becomes for one sidecar; no lab needs to run.

    With --mesh linkerd: the policies that Linkerd's control plane would send, for all pods if none is named. How it was
    installed is read from a ConfigMap linkerd-config, if the world or a file has one.
    """
    import yaml  # noqa: PLC0415 - not needed for --help

    try:
        made = _compiled(files, world, pod, mesh)
    except MeshbddError:
        raise
    except Exception as error:
        names = " and ".join(map(str, files))
        raise EnvironmentBroken(
            "MB0738",
            f"The lab fails to compile {names}: {type(error).__name__}: {error}.",
            help="report this mistake of the lab with the file; to go on, find and leave out the resource that it fails at",
        ) from error
    click.echo(json.dumps(made, indent=2) if as_json else yaml.safe_dump(made, sort_keys=False), nl=False)


def _compiled(files: tuple[Path, ...], world: Path | None, pod: str | None, mesh: str) -> dict[str, Any]:
    from meshbdd.lab.compile.command import compile_files as compile_istio  # noqa: PLC0415 - slow to import
    from meshbdd.lab.linkerd import command as linkerd  # noqa: PLC0415 - slow to import

    if mesh != "linkerd":
        return compile_istio(files, world, pod)
    made = linkerd.compile_files(files, world, pod)
    for sentence in linkerd.refusals(made):
        complain(f"warning: {sentence}")
    return made
