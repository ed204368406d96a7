"""What the command line of ``meshbdd load`` says, as a plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshbdd.errors import BadInput
from meshbdd.units import Duration, Rate

if TYPE_CHECKING:  # imported where they are needed, so that --help is quick
    from meshbdd.load import Message, Plan, Vantage

DEFAULT_SECONDS = 10.0
DEFAULT_USERS = 10
REDIRECTS = 10
_KEEP = 1024 * 1024
"""Bytes of answers kept in full: nothing but the numbers is shown."""


def read_plan(target: str | None, **options: Any) -> Plan:
    """Everything that the command line says, checked before anything is sent."""
    from meshbdd.load import Pace, Plan  # noqa: PLC0415 - see meshbdd.cli.load

    if target is None:
        raise BadInput("MB0250", "No URL and no file is given.", help="write meshbdd load URL, or --help")
    rate, users, duration, count = (options[name] for name in ("rate", "users", "duration", "count"))
    if rate is not None and users is not None:
        raise BadInput(
            "MB0251",
            "--rate and --users contradict each other: requests start either at a rate or when users are answered.",
            help="leave one of them out",
        )
    if rate is None and (options["ramp"] is not None or options["poisson"]):
        raise BadInput("MB0253", "--ramp and --poisson need a rate.", help="add --rate, like --rate 200/s")
    pace = None
    if rate is not None:
        ramp = Duration.parse(options["ramp"]) if options["ramp"] is not None else None
        pace = Pace(Rate.parse(rate), ramp, options["poisson"])
    if duration is None and count is None:
        lasting: Duration | None = Duration(DEFAULT_SECONDS)
    else:
        lasting = Duration.parse(duration) if duration is not None else None
    message = _message(target)
    return Plan(
        message,
        _vantage(message, options["via"], options["lab"]),
        users=DEFAULT_USERS if users is None else users,
        pace=pace,
        count=count,
        duration=lasting,
        fresh=options["fresh"],
        timeout=Duration.parse(options["timeout"]),
        http2=options["http2"] or None,
        insecure=options["insecure"],
        follow=0 if options["no_follow"] else REDIRECTS,
        keep=_KEEP,
    )


def _message(target: str) -> Message:
    from meshbdd.cli.request_file import read_request  # noqa: PLC0415 - see meshbdd.cli.load
    from meshbdd.load import read_message  # noqa: PLC0415 - see meshbdd.cli.load

    schemes = ("http", "https")
    if "://" in target:
        return read_message(target, f"GET {target}", schemes=schemes)
    file = Path(target)
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError:
        raise BadInput("MB0254", f"{file} is no text.", help="write the request as an HTTP message") from None
    except OSError as error:
        raise BadInput(
            "MB0255",
            f"'{target}' is no URL, and no file that can be read: {error.strerror}.",
            help="write http://HOST/PATH, or the path of a file with a request",
        ) from None
    return read_request(file, text, schemes)


def _vantage(message: Message, via: str | None, name: str | None) -> Vantage | None:
    """The sidecar of a service's pod in a running lab; ``None`` where nothing says so.

    Raises:
        BadInput: no such lab or service, or none with a sidecar, or one of the lab's services was to be asked that is not
            there.
    """
    if via is None:
        return None
    from meshbdd.cluster import Cluster  # noqa: PLC0415 - see meshbdd.cli.load
    from meshbdd.intents import ServiceRef  # noqa: PLC0415 - see meshbdd.cli.load
    from meshbdd.lab import lifecycle  # noqa: PLC0415 - see meshbdd.cli.load
    from meshbdd.load import Vantage  # noqa: PLC0415 - see meshbdd.cli.load
    from meshbdd.scenario.hosts import check_host  # noqa: PLC0415 - see meshbdd.cli.load
    from meshbdd.scenario.vantages import OUTBOUND_ANNOTATION  # noqa: PLC0415 - see meshbdd.cli.load
    from meshbdd.settings import load_settings  # noqa: PLC0415 - see meshbdd.cli.load
    from meshbdd.sidecars import ISTIO, LINKERD  # noqa: PLC0415 - see meshbdd.cli.load

    settings = load_settings()
    name = name or settings.lab
    found = lifecycle.find(name)
    if found is None:
        raise BadInput("MB0256", f"--via {via}: no lab '{name}' runs.", help=f"bring it up: meshbdd lab up {name}")
    cluster = Cluster.connect(found.kubeconfig, namespace=settings.namespace)
    service = ServiceRef.parse(via, settings.namespace or cluster.namespace)
    sidecars = LINKERD if found.mesh == "linkerd" else ISTIO
    ways: dict[str, str] = {}
    for pod in cluster.list("Pod", service.namespace, labels=sidecars.label):
        app = pod["metadata"]["labels"].get("app")
        address = (pod["metadata"].get("annotations") or {}).get(OUTBOUND_ANNOTATION)
        if app and address:
            ways.setdefault(app, address)
    if service.name not in ways:
        plain = cluster.list("Pod", service.namespace, labels=f"app={service.name}")
        which = f'labelled app={service.name} in namespace "{service.namespace}"'
        why = f"the pods {which} have no sidecar to enter at" if plain else f"there is no pod {which}"
        raise BadInput(
            "MB0257",
            f"--via {via}: {why}.",
            help=f"use one of: {', '.join(sorted(ways))}" if ways else "deploy something with a sidecar first",
        )
    check_host(cluster, message, service.namespace)
    return Vantage(via, ways[service.name])
