"""Finding a network of its own for a lab."""

from __future__ import annotations

import socket

import pytest

from meshbdd.lab.addresses import API_PORT, PROMETHEUS_PORT, claim_subnet


@pytest.mark.parametrize("port", [API_PORT, PROMETHEUS_PORT])
def test_a_network_in_which_a_port_is_taken_is_passed_over(port: int) -> None:
    """A taken port of Prometheus used to end the whole lab after ten seconds."""
    first, claim = claim_subnet()
    claim.close()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((first.own, port))
        taken.listen(1)
        other, claim = claim_subnet()
        claim.close()
    assert other.net != first.net
