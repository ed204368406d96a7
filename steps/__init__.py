"""The vocabulary. behave loads these files itself from a checkout; elsewhere ``import meshbdd.steps`` does."""

if __package__:
    from . import (  # noqa: F401
        fault_steps,
        mesh_steps,
        policy_steps,
        request_steps,
        resilience_steps,
        response_steps,
    )
