"""The certificates that proxies use now, from their admin page ``/certs``."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from meshbdd.errors import EnvironmentBroken
from meshbdd.telemetry.proxies import ADMIN_PORT, Object, Proxies


@dataclass(frozen=True, slots=True)
class WorkloadCertificate:
    """A proxy's own certificate.

    Attributes:
        pod: Its pod.
        serial: Its serial number.
        expires: End of its validity.
        identities: Its subject alternative names.
    """

    pod: str
    serial: str
    expires: dt.datetime
    identities: tuple[str, ...]


def read(pod: str, page: Any) -> WorkloadCertificate:
    """The workload's certificate on a page ``/certs`` (envoy.admin.v3.Certificates).

    Raises:
        EnvironmentBroken: there is none.
    """
    for entry in (page or {}).get("certificates") or []:
        for details in entry.get("cert_chain") or []:
            names = tuple(str(name.get("uri") or name.get("dns")) for name in details.get("subject_alt_names") or [])
            expires = dt.datetime.fromisoformat(str(details["expiration_time"]))
            return WorkloadCertificate(pod, str(details["serial_number"]), expires, names)
    raise EnvironmentBroken(
        "MB0642", f"The proxy of pod {pod} has no certificate.", help="see whether mutual TLS is set up in this mesh"
    )


def of_pod(proxies: Proxies, pod: Object) -> WorkloadCertificate:
    """What a pod's proxy uses now.

    Raises:
        EnvironmentBroken: it has none, or does not answer.
    """
    return read(str(pod["metadata"]["name"]), proxies.tunnel(pod, ADMIN_PORT).get("/certs"))
