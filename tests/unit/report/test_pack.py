"""A page's data is compressed where the page is written as Allure writes it; no other page is touched."""

from __future__ import annotations

import base64
import gzip
import json
import re

import pytest

from meshbdd.report.page.pack import pack

ITEMS = {"data/a b.json": b'{"\xc3\xa9": 1}' * 1000, "data/p.png": bytes(range(256)), "widgets/empty.json": b""}


def _page(store: str, quote: str, items: dict[str, bytes] = ITEMS) -> str:
    calls = ",\n ".join(
        f"d({quote}{name}{quote},{quote}{base64.b64encode(body).decode()}{quote})" for name, body in items.items()
    )
    return (
        f"<p>before</p><script>function d(name, value){{ {store}[name] = value; }}</script>"
        f"<script defer>Promise.allSettled([{calls}]).then(ready)</script><p>after</p>"
    )


@pytest.mark.parametrize(("store", "quote"), [("window.allureReportData", '"'), ("window.reportData", "'")])
def test_every_item_is_in_it(store: str, quote: str) -> None:
    page = _page(store, quote)
    packed = pack(page)
    assert len(packed) < len(page) / 5
    assert (packed[:50], packed[-12:]) == (page[:50], page[-12:])
    assert f"Object.defineProperty({store}, " in packed
    data = gzip.decompress(base64.b64decode(re.search(r'atob\("([^"]+)"\)', packed)[1]))  # type: ignore[index]
    index, _, content = data.partition(b"\n")
    for name, length in json.loads(index):
        assert content[:length] == ITEMS[name]
        content = content[length:]
    assert content == b""


@pytest.mark.parametrize(
    "page",
    [
        "<p>no data</p>",
        _page("window.reportData", "'").replace("[name] = value", ".set(name, value)"),
        _page("window.reportData", "'").replace("d('data/p.png',", "d('data/p.png' + more,"),
        _page("window.reportData", "'", {}),
    ],
)
def test_a_page_of_another_form_stays_as_it_is(page: str) -> None:
    assert pack(page) == page
