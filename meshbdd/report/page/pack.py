"""The page's data, compressed: pages of real evidence are a third as large, and the browser unpacks them as it opens them.

Both Allure versions write every result and attachment into a page of one file as base64, as calls of a function ``d``
that a promise awaits before the page is shown. Text in base64 is four to eight times as large as it need be.
"""

from __future__ import annotations

import base64
import gzip
import json
import re

_CALLS = re.compile(r"Promise\.allSettled\(\[(?=\s*d\()([^\]]*)\]\)")
_CALL = re.compile(r"""\s*d\((["'])([^"'\\]+)\1\s*,\s*(["'])([A-Za-z0-9+/=]*)\3\)\s*,?\s*""")

_UNPACK = """(async function () {
        if (!window.DecompressionStream) {
          document.body.textContent = "This report needs a browser of 2023 or newer.";
          return new Promise(function () {});
        }
        const packed = Uint8Array.from(atob("%s"), function (c) { return c.charCodeAt(0); });
        const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
        const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
        let end = bytes.indexOf(10) + 1;
        JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))).forEach(function (item) {
          const content = bytes.subarray(end, end += item[1]);
          Object.defineProperty(%s, item[0], { enumerable: true, configurable: true, get: function () {
            let text = "";
            for (let i = 0; i < content.length; i += 32768) {
              text += String.fromCharCode.apply(null, content.subarray(i, i + 32768));
            }
            return btoa(text);
          } });
        });
      })()"""
"""Base64 is made of an item only when the page asks for it; DecompressionStream is in Chromium 80, Safari 16.4, Firefox 113."""


def pack(page: str) -> str:
    """A page with its data compressed; as it was, where it is not written as both versions known here do."""
    found = _CALLS.search(page)
    store = re.search(r"(window\.\w+)\[name\] = value", page)
    if found is None or store is None:
        return page
    calls = list(_CALL.finditer(found[1]))
    if "".join(call[0] for call in calls) != found[1]:
        return page
    items = [(call[2], base64.b64decode(call[4])) for call in calls]
    index = json.dumps([[name, len(content)] for name, content in items]).encode() + b"\n"
    packed = gzip.compress(index + b"".join(content for _, content in items), 6, mtime=0)
    script = _UNPACK % (base64.b64encode(packed).decode(), store[1])
    return f"{page[: found.start()]}Promise.allSettled([{script}]){page[found.end() :]}"
