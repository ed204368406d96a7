"""Faults: what goes wrong in the mesh."""

from behave import step
from behave.runner import Context

from meshbdd.intents import Down, Fault, ServiceRef
from meshbdd.options import fault_with_options
from meshbdd.units import Duration, Percent
from meshbdd.vocabulary import register_types

register_types()


def _make(context: Context, fault: Fault) -> None:
    context.world.changes.make(fault_with_options(context.table, fault, context.world.service))


@step("{service:Service} fails {percent:Percent}")
def fails(context: Context, service: str, percent: Percent) -> None:
    """Calls to a service are answered with 503 instead, or with the status in the table.

    Evidence: the objects written, as a diff; where it is injected and why; when each proxy held it (ms); calls met
    and hit, by caller.

    Example: Given payment-service fails 100%
    """
    _make(context, Fault(context.world.service(service), percent))


@step("{service:Service} fails {percent:Percent} with status {status:Status}")
def fails_with_status(context: Context, service: str, percent: Percent, status: int) -> None:
    """Calls to a service are answered with this status instead.

    Evidence: as of «fails» without a status.

    Example: Given payment-service fails 30% with status 503
    """
    _make(context, Fault(context.world.service(service), percent, status))


@step("{service:Service} fails {percent:Percent} with gRPC status {name:Grpc}")
def fails_with_grpc_status(context: Context, service: str, percent: Percent, name: str) -> None:
    """GRPC calls to a service are answered with this status instead.

    Evidence: as of «fails» without a status. Calls that are plain HTTP see no failure, and make the scenario
    inconclusive.

    Example: Given payment-service fails 100% with gRPC status UNAVAILABLE
    """
    _make(context, Fault(context.world.service(service), percent, grpc_status=name))


@step("{service:Service} is slowed by {duration:Duration}")
def slowed(context: Context, service: str, duration: Duration) -> None:
    """Calls to a service take so much longer.

    Evidence: as of «fails», the delay in milliseconds.

    Example: Given inventory-service is slowed by 5s
    """
    _make(context, Fault(context.world.service(service), delay=duration))


@step("{service:Service} is slowed by {duration:Duration} for {percent:Percent} of requests")
def slowed_sometimes(context: Context, service: str, duration: Duration, percent: Percent) -> None:
    """Some of the calls to a service take so much longer.

    Evidence: as of «fails», the delay in milliseconds and the share in percent.

    Example: Given inventory-service is slowed by 250ms for 50% of requests
    """
    _make(context, Fault(context.world.service(service), percent, delay=duration))


@step("{service:Service} is down")
def is_down(context: Context, service: str) -> None:
    """No endpoint of a service takes connections.

    Evidence: the objects written, as a diff; when no endpoint was left; calls that met none, by caller.

    Example: Given notification-service is down
    """
    context.world.changes.make(Down(context.world.service(service)))


@step("{service:Service} recovers")
def recovers(context: Context, service: str) -> None:
    """This scenario's faults at a service are taken back, and a manifest whose VirtualService made one; policies stay.

    Evidence: what was taken back, when no proxy held it any more, and what others had changed meanwhile and was
    kept.

    Example: When payment-service recovers
    """
    context.world.changes.recover(ServiceRef.parse(service, context.world.namespace))  # no other can recover


@step('the manifest "{path:Text}" is applied')
def manifest_applied(context: Context, path: str) -> None:
    """A manifest from the project is applied.

    Evidence: its objects as a diff, doubts about them, when each proxy held them (ms), and the calls that its
    faults hit.

    Example: Given the manifest "manifests/examples/payment-fails-500.yaml" is applied
    """
    context.world.changes.apply_manifest(path)


@step('the manifest "{path:Text}" is removed')
def manifest_removed(context: Context, path: str) -> None:
    """What applying a manifest did is taken back.

    Evidence: as of «recovers».

    Example: When the manifest "manifests/examples/payment-fails-500.yaml" is removed
    """
    context.world.changes.remove_manifest(path)
