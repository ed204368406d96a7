"""A small, honest Kubernetes API server on loopback: one asyncio loop, objects in memory.

``core.Api`` is the API without a transport, called directly by controllers in the same process;
``server.ApiServer`` serves it over HTTPS to the official clients and ``kubectl``.
"""
