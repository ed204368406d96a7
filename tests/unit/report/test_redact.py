"""Secrets are masked by their names and by their form, and nothing else is."""

from __future__ import annotations

import json

import pytest

from meshbdd.report import redact
from meshbdd.report.redact import MASK


@pytest.mark.parametrize(
    "name",
    ["Authorization", "proxy-authorization", "Cookie", "set-cookie", "X-Api-Key", "api_key", "x-auth-token", "access_token",
     "client_secret", "password", "X-Session-Id", "x-amz-signature", "jwt", "pin", "card_number", "private_key"],
)  # fmt: skip
def test_secret_names(name: str) -> None:
    assert redact.headers({name: "hunter2"}) == {name: MASK}
    assert "hunter2" not in redact.body(json.dumps({"a": [{name: "hunter2"}]}))
    assert "hunter2" not in redact.url(f"http://x/y?{name}=hunter2&z=1")


@pytest.mark.parametrize(
    "name", ["x-request-id", "content-type", "traceparent", "x-forwarded-client-cert", "shipping", "spin"]
)
def test_harmless_names(name: str) -> None:
    assert redact.headers({name: "value"}) == {name: "value"}


def test_secrets_by_their_form() -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
    assert redact.text(f"got {token}.") == f"got {MASK}."
    assert redact.text("Bearer abcdefgh12345") == f"Bearer {MASK}"
    assert redact.headers({"x-custom": "Basic dXNlcjpwYXNz"}) == {"x-custom": f"Basic {MASK}"}
    assert redact.text("Bearer of news") == "Bearer of news"


def test_bodies_keep_what_is_no_secret() -> None:
    assert redact.body(b'{"sku": "A1",  "quantity": 1}') == '{"sku": "A1",  "quantity": 1}', "not written anew"
    assert redact.body("a=1&password=hunter2") == f"a=1&password={MASK}"
    assert redact.body(b"\xff\xfe") == "��"
    assert redact.body("no form = at all") == "no form = at all"
    assert redact.body('{"token": null}') == '{"token": null}'


MESSAGE = """POST http://bob:hunter2@order-service/checkout?api_key=hunter2&sku=A1
Content-Type: application/json
Authorization: Negotiate hunter2
Cookie: sid=hunter2; theme=dark

{"sku": "A1", "password": "hunter2", "nested": {"accessToken" : "hun\\"ter2"}, "pin": 1234, "token": null"""
"""As a tester writes it below ``the request "x":``; its body may end too early."""


def test_the_text_of_a_step() -> None:
    shown = redact.lines(MESSAGE)
    assert shown.splitlines() == [
        f"POST http://{MASK}@order-service/checkout?api_key={MASK}&sku=A1",
        "Content-Type: application/json",
        f"Authorization: {MASK}",
        f"Cookie: {MASK}",
        "",
        f'{{"sku": "A1", "password": "{MASK}", "nested": {{"accessToken" : "{MASK}"}}, "pin": "{MASK}", "token": null',
    ]
    yaml = "kind: Secret\nspec:\n  token: hunter2\n  secretRefs:\n    - name: a\n"
    assert redact.lines(yaml) == yaml.replace("hunter2", MASK)
    plain = "Scenario: the token bucket\nlimits 5 calls; see http://x/y?page=2\n"
    assert redact.lines(plain) == plain


def test_the_table_of_a_step() -> None:
    options = [["status", "503"], ["header authorization", "hunter2"], ["path", "/a?token=hunter2"]]
    assert redact.rows(options) == [["status", "503"], ["header authorization", MASK], ["path", f"/a?token={MASK}"]]
    either = redact.rows([["password", "hunter2"], ["hunter3", "/"]])
    assert either == [["password", MASK], [MASK, "/"]], "options or columns: nobody can tell, so both"
    users = [["user", "password", "role"], ["bob", "hunter2", "qa"]]
    assert redact.rows(users) == [["user", "password", "role"], ["bob", MASK, "qa"]]


def test_urls() -> None:
    assert redact.url("http://user:pw@host:80/p?a=1#f") == f"http://{MASK}@host:80/p?a=1"
    assert redact.url("http://order-service/checkout") == "http://order-service/checkout"
