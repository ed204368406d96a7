"""Sending a literal number of requests from a vantage point: inside the mesh, or outside of it."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests
from requests.adapters import HTTPAdapter

from meshbdd.load.message import Message
from meshbdd.load.sample import Sample
from meshbdd.units import Duration

_LARGEST_BODY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Vantage:
    """Where requests come from.

    Attributes:
        name: What the report calls it.
        proxy: ``host:port`` of the way in: the client pod's sidecar, or the plain path of its unmeshed twin.
    """

    name: str
    proxy: str


def _session(vantage: Vantage) -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # the machine's own proxies have no part in a test
    session.proxies = {"http": f"http://{vantage.proxy}"}
    adapter = HTTPAdapter(max_retries=0, pool_connections=1, pool_maxsize=1)
    session.mount("http://", adapter)
    return session


def _error_word(error: Exception) -> str:
    text = repr(error).lower()
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return "timeout"
    return "refused" if "refused" in text else "reset"


def _one(session: requests.Session, message: Message, within: Duration) -> Sample:
    url, headers, body = message.fresh()
    request_id = next((v for n, v in headers.items() if n.lower() == "x-request-id"), None) or str(uuid.uuid4())
    headers = {**headers, "x-request-id": request_id, "User-Agent": "meshbdd"}
    started, clock = time.time(), time.perf_counter()
    try:
        with session.request(
            message.method, url, headers=headers, data=body, timeout=within.seconds, allow_redirects=False, stream=True
        ) as answer:
            content = answer.raw.read(_LARGEST_BODY, decode_content=True)
            seconds = time.perf_counter() - clock
            known = {name.lower(): value for name, value in answer.headers.items()}
            return Sample(request_id, started, seconds, answer.status_code, None, known, content)
    except requests.RequestException as error:
        return Sample(request_id, started, time.perf_counter() - clock, None, _error_word(error))
    except Exception as error:  # noqa: BLE001 - urllib3 raises its own kinds while a body is read
        return Sample(request_id, started, time.perf_counter() - clock, None, _error_word(error))


def send(message: Message, vantage: Vantage, within: Duration, count: int = 1, users: int = 1) -> list[Sample]:
    """Send ``count`` requests by ``users`` at a time, each on a connection of its own that is kept open.

    Args:
        message: What to send.
        vantage: Where from.
        within: How long one request may take in all.
        count: How many.
        users: How many at a time; each sends its next request when its last one has been answered.

    Returns:
        One sample for each request, in the order of their starts.
    """
    numbers = itertools.count()
    stopped = threading.Event()

    def user() -> list[Sample]:
        made = []
        with _session(vantage) as session:
            while not stopped.is_set() and next(numbers) < count:
                made.append(_one(session, message, within))
        return made

    with ThreadPoolExecutor(max_workers=users) as pool:
        futures = [pool.submit(user) for _ in range(users)]
        try:
            samples = [sample for future in futures for sample in future.result()]
        finally:
            stopped.set()  # on Ctrl-C the users stop after the request they are at, and the undo begins
    return sorted(samples, key=lambda sample: sample.started)
