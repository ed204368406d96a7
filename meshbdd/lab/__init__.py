"""The lab: a service mesh on one machine, met only through its Kubernetes API.

Three parts: a Kubernetes API on loopback (``api``, ``admission``), controllers that use only that API
(``controllers``, ``compile``, ``xds``, ``certificates``), and a data plane of real Envoys (``sidecar``).
Nothing here imports the product's ``mesh`` or ``world``: shared code would cancel shared mistakes.
"""
