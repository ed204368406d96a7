"""The page "how true is the lab", made of the tables that the tests run.

What needs no lab is compared while the page is written; what needs one is told from the record of its last run
(``played``). ``python -m tests.fidelity --page FILE`` plays all of it, and records and writes only where everything came
out as the tables announce; ``test_page`` holds record and page to the tables.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from meshbdd.lab.admission.lacking import LACKING
from meshbdd.lab.linkerd.deviations import DEVIATIONS
from meshbdd.lab.sidecar.transforms import TRANSFORMS
from tests.fidelity.inverse import NOT_DELIVERED
from tests.fidelity.linkerd.expected import DECLARED
from tests.fidelity.linkerd.world import experiments
from tests.fidelity.open_connections import CONNECTIONS, EXPECTED
from tests.fidelity.played import Played
from tests.fidelity.rows import Row
from tests.fidelity.table import ROWS
from tests.golden import decisions, linkerd, test_analysis, test_istio, test_linkerd

ISTIO = "Istio's own control plane (main, 1.32 development, 2026-08-22)"
LINKERD = "Linkerd's own controllers (main at b24cd4059841, 2026-08-21)"
PROXY = "two real linkerd-proxies (main at 29637b64f6ce, 2026-08-21)"


@dataclass(frozen=True, slots=True)
class Count:
    """One line of the summary."""

    what: str
    against: str
    agree: int
    of: int
    how: str

    def __str__(self) -> str:
        return f"| {self.what} | {self.against} | {self.agree} of {self.of} | `{self.how}` |"


def _analysed() -> tuple[int, int]:
    """Worlds in which Istio's analyzers find something, and of them those where the same is found of the same objects."""
    told = [case for case in test_analysis.CASES if case["messages"]]
    return sum(not test_analysis.missed(case) for case in told), len(told)


def counts(played: Played) -> list[Count]:
    """The summary. What needs no lab is compared here and now; the rest was counted when it was played."""
    pairs, policies = test_istio.PAIRS, linkerd.cases()
    decided = [case for case in decisions.CASES if decisions.known(case)]
    return [
        Count(
            "Configuration of a sidecar (case × sidecar)", ISTIO, sum(not test_istio.found(*pair) for pair in pairs),
            len(pairs), "pytest tests/golden/test_istio.py",
        ),
        Count(
            "Resource accepted or refused, number of warnings", "Istio's schemas and admission, same date",
            sum(decisions.difference(case) is None for case in decided), len(decisions.CASES),
            "pytest tests/unit/admission",
        ),
        Count(
            "Doubtful worlds of which `meshbdd check` says the same", "Istio's analyzers, same date", *_analysed(),
            "pytest tests/golden/test_analysis.py",
        ),
        Count(
            "What a running Envoy holds (case × sidecar)", "the output of `meshbdd lab compile`, transforms inverted",
            sum(played.held.values()), len(played.held), "pytest tests/fidelity/test_config_dump.py",
        ),
        Count(
            "Rules that a client can see, by requests", "recorded cases; documentation and sources of Istio and Envoy",
            _agree(played.rows), len(played.rows), "python -m tests.fidelity",
        ),
        Count(
            "Changes under open connections", "two plain Envoys, outside of the lab",
            sum(seen == [EXPECTED[change]] * 2 for change, seen in played.open_connections.items()),
            len(played.open_connections), "pytest tests/fidelity/test_open_connections.py",
        ),
        Count(
            "Policies of a Linkerd proxy", LINKERD, sum(not test_linkerd.found_differences(case) for case in policies),
            len(policies), "pytest tests/golden/test_linkerd.py",
        ),
        Count(
            "Behaviour of a Linkerd proxy, by requests", PROXY, _agree(played.linkerd), len(played.linkerd),
            "python -m tests.fidelity.linkerd",
        ),
    ]  # fmt: skip


def _agree(verdicts: Mapping[str, str]) -> int:
    return sum(verdict == "agrees" for verdict in verdicts.values())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _rule(row: Row) -> str:
    recorded = [part for part in row.source.split(", ") if part.startswith("golden")]
    return f"| {_cell(row.rule)} | {', '.join(recorded) or 'documented'} | {'differs' if row.declared else 'agrees'} |"


def _by_traffic() -> Iterator[str]:
    yield "## Rules by traffic"
    yield ""
    yield "Each rule is driven by requests through real sidecars, and each line was seen to fail with other resources."
    yield "“golden” is a recorded case, `tests/golden/data/istio`; “documented” is what documentation and sources say."
    for topic, rows in itertools.groupby(ROWS, lambda row: row.topic):
        yield from ("", f"### {topic}", "", "| rule | compared with | the lab |", "|---|---|---|", *map(_rule, rows))


def _open_connections() -> Iterator[str]:
    yield "## Changes under open connections"
    yield ""
    yield f"How many of {CONNECTIONS} connections that were open gave one more answer from before the change."
    yield ""
    yield "| what is changed | stale answers, there and here |"
    yield "|---|---|"
    yield from (f"| {change} | {stale} of {CONNECTIONS} |" for change, stale in EXPECTED.items())


def _istio_differences() -> Iterator[str]:
    yield "## Where the lab differs from Istio, and what that means for a verdict"
    yield ""
    for world, (code, reason) in test_analysis.UNSAID.items():
        yield f"- `meshbdd check`, the world {world}: it does not say {code}: {reason}. No verdict rests on it."
    for (case, pod), reason in test_istio.DIFFERS.items():
        yield f"- Configuration, {case} for {pod}: {reason}"
    yield from (f"- {row.topic}, \u201c{row.rule}\u201d: {_cell(row.declared)}" for row in ROWS if row.declared)
    yield ""
    yield "What loopback needs is a list of transforms of the compiler's output, each undone by a test that finds that"
    yield "output in running sidecars. What they leave out: CONNECT, and clients that ignore `http_proxy`."
    yield ""
    for transform in TRANSFORMS:
        yield f"- `{transform.__name__}`: {_cell((transform.__doc__ or '').partition(chr(10) * 2)[0])}"
    yield ""
    yield f"For {len(NOT_DELIVERED)} parts of the compiler's output loopback has no place; they are not delivered:"
    yield ""
    yield "| not delivered | for a verdict |"
    yield "|---|---|"
    yield from (f"| {_cell(part.part)} | {_cell(part.effect)} |" for part in NOT_DELIVERED)
    yield ""
    yield "Of Services some kinds are not as on Istio; `meshbdd lab compile` says so in its `warnings`:"
    yield ""
    yield "- TCP ports have clusters and inbound chains, and no outbound listener: no call of an application gets there."
    yield "- Ports that name no protocol are taken for HTTP, where Istio looks at the bytes."
    yield "- Headless Services and the policy PASSTHROUGH keep to an address on Istio; here each request goes to any endpoint."
    yield "- UDP ports pass by every sidecar, there and here. An ExternalName of a Service is a name of it, there and here: a"
    yield "  virtual service may govern it or send to it, if it has the port. An ExternalName of anything else is an unknown host,"
    yield "  which the lab looks up by its name."
    yield ""
    yield "## What the lab refuses"
    yield ""
    yield "Refused with its path and never passed over, so no verdict can rest on it. Of EnvoyFilters the lab has four"
    yield "forms (an inbound HTTP fault, an armed fault with its settings over ECDS, metadata and outlier detection of a cluster,"
    yield "timeout and retries of an outbound route) and refuses the rest; WasmPlugin, Gateway and TCPRoute are not served."
    yield "What Istio takes and does not heed is taken with a warning:"
    yield "policies with `targetRefs`, `sessionPersistence` and filters that Istio has not of an HTTPRoute, tunnels (for TCP)."
    yield ""
    yield "| kind | field | what the lab does not have |"
    yield "|---|---|---|"
    for kind, fields in LACKING.items():
        yield from (f"| {kind} | `{path}` | {_cell(what)} |" for path, what in fields.items())


def _linkerd() -> Iterator[str]:
    shown = collections.defaultdict(list)
    for experiment, declared in DECLARED.items():
        shown[declared.key].append(experiment)
    yield "## Where the lab differs from Linkerd, and what that means for a verdict"
    yield ""
    yield "`meshbdd lab status --json` tells the same. Recorded experiments show some of them; the others are known from"
    yield "Linkerd's sources."
    yield ""
    yield "| differs | for a verdict | recorded experiments |"
    yield "|---|---|---|"
    for one in DEVIATIONS:
        yield f"| {_cell(one.differs)} | {_cell(one.effect)} | {', '.join(shown[one.key]) or '–'} |"
    yield ""
    yield "| recorded experiment | the lab |"
    yield "|---|---|"
    for experiment in experiments():
        declared = DECLARED.get(experiment["id"])
        told = f"differs: {declared.key}" if declared else "agrees"
        yield f"| {_cell(experiment['question'])} (`{experiment['id']}`) | {told} |"


def page(played: Played) -> str:
    """The page as Markdown, on what came of the tables."""
    lines = [
        "# How true is the lab",
        "",
        "How far a verdict on the lab is one on a cluster: what it was compared with, what agrees, and what each",
        "difference means for a verdict. `make fidelity` plays every line and writes this page, only if all of them come",
        f"out as they stand here. Played on {played.date}.",
        "",
        "| compared | with | agree | command |",
        "|---|---|---|---|",
        *map(str, counts(played)),
        "",
        "Comparisons are by meaning: `tests/golden/meaning.py` says what is left out, and why.",
    ]
    for section in (_istio_differences, _linkerd, _by_traffic, _open_connections):
        lines += ["", *section()]
    return "\n".join(lines) + "\n"
