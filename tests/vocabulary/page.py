"""The page docs/steps.md: every phrase, and what of it each mesh can do.

``python -m tests.vocabulary FILE`` writes it, ``test_abilities`` holds the page that is there to the code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from meshbdd.mesh import STATEMENTS
from meshbdd.mesh.abilities import TITLES
from meshbdd.phrases import phrases

HEAD = """# Steps

Written by `make steps` from the step files and from what each mesh says of itself; `meshbdd steps` prints the same, and
`meshbdd steps circuit opens` all that is said of the phrases with these words.

A scenario names no mesh. Where the mesh of a run cannot do what one of its steps needs, the scenario is **skipped** before
anything is written, with the reason in the report; it is neither passed nor failed. A run in which nothing passed because
everything was skipped ends with 2. A feature, a rule or a scenario that is for one mesh alone says so with `@istio` or
`@linkerd`. (An `after_step` of a project's own replaces meshbdd's: let it call `meshbdd.hooks.after_step` as well.)

Requests can so far be sent from the lab's client pods only, so on a cluster the table says what the rest of a phrase needs
there.
"""

TOPICS = {
    "fault": "Faults",
    "policy": "Policies",
    "request": "Requests",
    "response": "Responses",
    "mesh": "The mesh",
    "resilience": "Resilience",
}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_topics()])


def _topics() -> Iterator[str]:
    by_topic = {topic: list(found) for topic, found in itertools.groupby(phrases(), lambda phrase: phrase.topic)}
    assert set(by_topic) == set(TOPICS), "a file of steps has no title on the page"
    for topic, title in TOPICS.items():
        yield f"## {title}\n"
        yield f"| phrase | meaning | {' | '.join(TITLES.values())} |"
        yield f"|---|---|{'---|' * len(TITLES)}"
        for phrase in by_topic[topic]:
            answers = " | ".join(phrase.told_by(STATEMENTS[mesh]) for mesh in TITLES)
            meaning = phrase.meaning.replace("|", r"\|")
            yield f"| `{phrase.pattern}` | {meaning} | {answers} |"
        yield ""
