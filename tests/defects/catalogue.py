"""The seeded defects of the mesh that is tested."""

from __future__ import annotations

import os

from tests.defects.of_istio import OF_ISTIO
from tests.defects.of_linkerd import OF_LINKERD
from tests.defects.of_the_policies import OF_THE_POLICIES
from tests.defects.of_the_shop import OF_THE_SHOP

MESH = os.environ.get("MESH", "istio")
"""The mesh on which the defects are seeded."""
DEFECTS = (*OF_THE_SHOP, *(OF_LINKERD if MESH == "linkerd" else (*OF_ISTIO, *OF_THE_POLICIES)))
