"""The certificates that proxies use now: from Envoy's admin page ``/certs``, or from linkerd-proxy's metrics."""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from meshbdd.errors import BadInput, EnvironmentBroken
from meshbdd.pod_spec import variable
from meshbdd.sidecars import LINKERD
from meshbdd.telemetry.proxies import ADMIN_PORT, Object, Proxies
from meshbdd.units import Duration


@dataclass(frozen=True, slots=True)
class WorkloadCertificate:
    """A proxy's own certificate.

    Attributes:
        pod: Its pod.
        serial: Its serial number; for linkerd-proxy, which tells none, the second in which it ends.
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
    raise _none(pod)


def read_linkerd(pod: str, page: str) -> WorkloadCertificate:
    """The workload's certificate by a page of linkerd-proxy's metrics, which tells when it ends and no serial number.

    Raises:
        EnvironmentBroken: there is none.
    """
    for family in text_string_to_metric_families(page):
        for sample in family.samples if family.name == _EXPIRY else ():
            if sample.value:
                return WorkloadCertificate(
                    pod, f"{sample.value:.0f}", dt.datetime.fromtimestamp(sample.value, dt.UTC), ()
                )
    raise _none(pod)


_EXPIRY = "identity_cert_expiration_timestamp_seconds"
"""https://linkerd.io/2/reference/proxy-metrics/"""


def _none(pod: str) -> EnvironmentBroken:
    return EnvironmentBroken(
        "MB0642", f"The proxy of pod {pod} has no certificate.", help="see whether mutual TLS is set up in this mesh"
    )


_LATEST = "LINKERD2_PROXY_IDENTITY_MAX_REFRESH"


def renewed_within(pod: Object) -> Duration | None:
    """After what time linkerd-proxy renews a pod's certificate at the latest; ``None`` where its lifetime decides.

    linkerd2-proxy linkerd/app/src/env.rs. The annotation ``config.linkerd.io/proxy-additional-env`` sets it, for instance.
    """
    with contextlib.suppress(BadInput):  # none, in days, or in a form that it would not start with
        return Duration.parse(variable(pod["spec"], LINKERD.container, _LATEST))
    return None


def of_pod(proxies: Proxies, pod: Object) -> WorkloadCertificate:
    """What a pod's proxy uses now.

    Raises:
        EnvironmentBroken: it has none, or does not answer.
    """
    if proxies.sidecars is LINKERD:
        port, path = proxies.sidecars.metrics
        return read_linkerd(str(pod["metadata"]["name"]), proxies.tunnel(pod, port).text(path))
    return read(str(pod["metadata"]["name"]), proxies.tunnel(pod, ADMIN_PORT).get("/certs"))
