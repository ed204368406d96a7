"""In a diff of YAML a secret's name and its value stand on different lines, in either order."""

from __future__ import annotations

import pytest

from meshbdd.report.redact import MASK
from meshbdd.report.redact_yaml import diff

CASES = {
    "a match of Istio's": "  match:\n  - headers:\n      authorization:\n        exact: SECRET\n      x-user:\n        exact: qa",
    "a header that is set": "  headers:\n    request:\n      set:\n        x-api-key: SECRET\n        x-user: qa",
    "a match of Gateway API's": "  - name: Authorization\n    type: Exact\n    value: SECRET\n  - name: x-user\n    value: qa",
    "its value first": "  - value: SECRET\n    name: authorization\n  - value: qa\n    name: x-user",
    "a condition": "  - key: request.headers[authorization]\n    values:\n    - SECRET\n    - SECRET\n  - key: source.ip\n    values:\n    - 10.0.0.1",
    "a long one": "  - name: TOKEN\n    value: SECRET\n      SECRET\n    x: 1",
    "a text": "  password: |\n    SECRET\n    SECRET\n  x: y",
    "a longer one in line": "  x-api-key: SECRET\n    SECRET\n  x: y",
    "a list": "  tokens:\n  - SECRET\n  x: y",
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("mark", [" ", "+", "-"])
def test_the_value_is_masked_and_nothing_else(text: str, mark: str) -> None:
    rows = [mark + row for row in text.split("\n")]
    written = "\n".join(["--- VirtualService a before", "+++ VirtualService a after", "@@ -1 +1 @@", *rows])
    got = diff(written.replace("SECRET", "hunter2"))
    assert got.replace(MASK, "hunter2") == written.replace("SECRET", "hunter2")
    assert "hunter2" not in got


@pytest.mark.parametrize(
    "text",
    [
        "   jwtRules:\n   - issuer: me\n     jwksUri: http://keys",
        "   httpCookie:\n     name: shard\n     ttl: 0s",
        "   - name: x-user\n     value: qa",
        "+  fault:\n+    abort:\n+      httpStatus: 503",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert diff(text) == text
