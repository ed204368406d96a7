"""What Prometheus says of the proxies that it scrapes, as linkerd-viz sets it up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from meshbdd.lab.linkerd.objects import label_of

SCRAPE_JOB = "linkerd-proxy"

_PROXYS, _LINKERDS = "linkerd_io_proxy_", "linkerd_io_"


def scrape_labels(pod: Mapping[str, Any]) -> Mapping[str, str]:
    """Its namespace and name, what it is of (``deployment`` for instance), and all labels of the pod.

    The labels that the injector gives lose Linkerd's domain: linkerd.io/proxy-deployment becomes ``deployment``,
    linkerd.io/control-plane-ns ``control_plane_ns``. linkerd2 viz/charts/linkerd-viz/templates/prometheus.yaml,
    ``relabel_configs`` of the job.
    """
    meta = pod["metadata"]
    found = {"namespace": meta["namespace"], "pod": meta["name"]}
    for label, value in (meta.get("labels") or {}).items():
        name = re.sub(r"[^a-zA-Z0-9_]", "_", label)
        if name.startswith(_PROXYS):
            name = label_of(name.removeprefix(_PROXYS))
        name = name.removeprefix(_LINKERDS)
        if re.match("[a-zA-Z_]", name):  # no other may begin a label of Prometheus
            found[name] = str(value)
    return found
