"""The demo shop: five small services that behave as a guide to service meshes says services should.

One process for each: ``python -m meshbdd.lab.shop SERVICE``, listening at ``$HOST:$PORT``. Calls to the others go
through the proxy named by ``http_proxy``, as any well-behaved HTTP client's do.
"""
