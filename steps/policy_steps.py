"""Policies: what the mesh does to calls, whether or not something goes wrong."""

from behave import step
from behave.runner import Context

from meshbdd.intents import Access, CircuitBreaker, Limit, Mirror, MutualTls, Retry, Split, Timeout, TlsMode
from meshbdd.units import Duration, Percent
from meshbdd.vocabulary import register_types

register_types()


@step("calls to {service:Service} time out after {duration:Duration}")
def time_out(context: Context, service: str, duration: Duration) -> None:
    """A call that takes longer, all its tries together, is answered with 504 by the caller's proxy.

    Evidence: the route that was written and the proxies that hold it.

    Example: Given calls to inventory-service time out after 500ms
    """
    context.world.changes.make(Timeout(context.world.service(service), duration))


@step("calls to {service:Service} are retried up to {count:Count} times")
def retried(context: Context, service: str, count: int) -> None:
    """A call that fails (connection, reset, 5xx, retriable gRPC status) is tried again by the caller's proxy.

    So up to count + 1 tries reach the service.

    Evidence: the route and the proxies that hold it.

    Example: Given calls to payment-service are retried up to 3 times
    """
    context.world.changes.make(Retry(context.world.service(service), count))


@step(
    "{service:Service} has a circuit breaker that opens after {count:Count} consecutive errors for {duration:Duration}"
)
def circuit_breaker(context: Context, service: str, count: int, duration: Duration) -> None:
    """Each caller's proxy ejects an endpoint after so many errors in a row; the n-th time for n times the duration.

    Sets interval 1s and maxEjectionPercent 100 as well and says so: with Istio's 10 % nothing is ejected below ten
    endpoints.

    Evidence: the DestinationRule and the proxies that hold it.

    Example: Given payment-service has a circuit breaker that opens after 5 consecutive errors for 3s
    """
    context.world.changes.make(CircuitBreaker(context.world.service(service), count, duration))


@step("{service:Service} accepts at most {count:Count} concurrent requests")
def concurrency_limit(context: Context, service: str, count: int) -> None:
    """Requests beyond so many at a time get 503 from a proxy: from each caller's sidecar, and at each pod of the service.

    Evidence: the DestinationRule and the proxies that hold it.

    Example: Given payment-service accepts at most 2 concurrent requests
    """
    context.world.changes.make(Limit(context.world.service(service), count))


@step("traffic to {service:Service} is split {share:Percent} to {subset:Subset} and {rest:Percent} to {other:Subset}")
def split(context: Context, service: str, share: Percent, subset: str, rest: Percent, other: str) -> None:
    """Each request goes to one of two subsets: the DestinationRule's, else pods by their label version.

    Evidence: subsets and weights and the proxies that hold them.

    Example: Given traffic to order-service is split 90% to stable and 10% to canary
    """
    context.world.changes.make(Split(context.world.service(service), ((subset, share), (other, rest))))


@step("traffic to {service:Service} is mirrored to {subset:Subset}")
def mirrored(context: Context, service: str, subset: str) -> None:
    """A copy of every request goes to a subset as well; nobody sees its answer.

    Evidence: the route and the proxies that hold it.

    Example: Given traffic to order-service is mirrored to canary
    """
    context.world.changes.make(Mirror(context.world.service(service), subset))


@step("mutual TLS is {mode:TlsMode}")
def mutual_tls(context: Context, mode: TlsMode) -> None:
    """Every server of the default namespace demands mutual TLS (strict), takes plaintext too, or plaintext alone.

    Evidence: the PeerAuthentications, the servers' ports, and that callers opened new connections.

    Example: Given mutual TLS is strict
    """
    context.world.changes.make(MutualTls(mode, context.world.namespace))


@step("mutual TLS is {mode:TlsMode} for {service:Service}")
def mutual_tls_for(context: Context, mode: TlsMode, service: str) -> None:
    """One service demands mutual TLS (strict), takes plaintext too (permissive), or plaintext alone (disabled).

    Evidence: the PeerAuthentication, the service's ports, and that callers opened new connections.

    Example: Given mutual TLS is permissive for payment-service
    """
    ref = context.world.service(service)
    context.world.changes.make(MutualTls(mode, ref.namespace, ref))


@step("only {caller:Service} may call {service:Service}")
def only_may_call(context: Context, caller: str, service: str) -> None:
    """One caller, known by its service account, is allowed; everybody else is denied.

    Evidence: the AuthorizationPolicy, the servers that hold it, and that callers opened new connections.

    Example: Given only order-service may call payment-service
    """
    context.world.changes.make(Access(context.world.service(caller), context.world.service(service)))
