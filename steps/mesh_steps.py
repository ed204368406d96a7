"""The mesh: proxies, certificates, mutual TLS, and what it reports of the traffic."""

from behave import step
from behave.runner import Context

from meshbdd.units import Duration
from meshbdd.vocabulary import register_types

register_types()


@step("every pod of {service:Service} has a sidecar")
def every_pod_has_a_sidecar(context: Context, service: str) -> None:
    """Every running pod of a service has a proxy that is ready; one without is named with the reason.

    Evidence: the number of pods, and each one without a proxy with the reason.

    Example: Then every pod of payment-service has a sidecar
    """
    context.world.claim(context.world.observed.sidecars(context.world.service(service)))


@step("calls from {source:Service} to {target:Service} use mutual TLS")
def calls_use_mutual_tls(context: Context, source: str, target: str) -> None:
    """All calls that the callee's proxies counted in this scenario came over mutual TLS; no call is inconclusive.

    Evidence: calls by security policy, as the proxies counted them.

    Example: Then calls from order-service to payment-service use mutual TLS
    """
    world = context.world
    world.claim(world.observed.mutual_tls(world.service(source), world.service(target)))


@step("{service:Service} rejects plaintext")
def rejects_plaintext(context: Context, service: str) -> None:
    """A client without a sidecar is refused or reset at every HTTP port, at which a meshed client is answered, or others are let in.

    Evidence: for each port what the client without a sidecar met, and what the meshed one did; where both were denied, what lets others in.

    Example: Then payment-service rejects plaintext
    """
    context.world.claim(context.world.observed.rejects_plaintext(context.world.service(service)))


@step("the certificate of {service:Service} is valid for at least {duration:Duration}")
def certificate_is_valid(context: Context, service: str, duration: Duration) -> None:
    """The certificate of every proxy of a service is valid for so much longer, by the proxy's own word.

    Evidence: for each pod the seconds that its certificate is still valid.

    Example: Then the certificate of payment-service is valid for at least 1h
    """
    context.world.claim(context.world.observed.certificate_valid(context.world.service(service), duration))


@step("the certificate of {service:Service} rotates within {duration:Duration}")
def certificate_rotates(context: Context, service: str, duration: Duration) -> None:
    """Every proxy of a service gets another certificate in time; the step waits for it.

    Evidence: for each pod the serial numbers before and after, and the seconds that were waited.

    Example: Then the certificate of notification-service rotates within 15s
    """
    context.world.claim(context.world.observed.certificate_rotates(context.world.service(service), duration))


@step("the mesh reports at least {count:Count} requests from {source:Service} to {target:Service}")
def mesh_reports(context: Context, count: int, source: str, target: str) -> None:
    """The callee's proxies (the caller's, where it has none) counted so many requests since the scenario began.

    Evidence: the requests that were counted, and which side's proxies counted them.

    Example: Then the mesh reports at least 10 requests from order-service to payment-service
    """
    world = context.world
    world.claim(world.observed.reported(world.service(source), world.service(target), count))


@step('the query "{promql:Promql}" is at least {number:Number}')
def query_is_at_least(context: Context, promql: str, number: float) -> None:
    """The one number that Prometheus gives for a query is not below this; nothing found is inconclusive.

    A counter without a window is what its series grew by since the scenario began, in whatever the query makes of it; a
    window (rate, increase) has to lie within the scenario. Where that cannot be told the claim is inconclusive.

    Evidence: the query as it was really asked, and each series with its value.

    Example: Then the query "sum(istio_requests_total{destination_service_name='payment-service'})" is at least 10
    """
    context.world.claim(context.world.observed.query(promql, "at least", number))


@step('the query "{promql:Promql}" is at most {number:Number}')
def query_is_at_most(context: Context, promql: str, number: float) -> None:
    """The one number that Prometheus gives for a query is not above this; nothing found is inconclusive.

    Counters and windows as of «is at least»: of this scenario alone.

    Evidence: as of «is at least».

    Example: Then the query "sum(istio_requests_total{destination_service_name='payment-service'})" is at most 30
    """
    context.world.claim(context.world.observed.query(promql, "at most", number))


@step('the query "{promql:Promql}" is exactly {number:Number}')
def query_is_exactly(context: Context, promql: str, number: float) -> None:
    """The one number that Prometheus gives for a query is this; nothing found is inconclusive.

    Counters and windows as of «is at least»: of this scenario alone.

    Evidence: as of «is at least».

    Example: Then the query "count(istio_build)" is exactly 5
    """
    context.world.claim(context.world.observed.query(promql, "exactly", number))


@step('the query "{promql:Promql}" is at least {number:Number} within {duration:Duration}')
def query_gets_at_least(context: Context, promql: str, number: float, duration: Duration) -> None:
    """The one number that Prometheus gives for a query reaches this in time.

    Counters and windows as without «within»; a window that reaches back before the scenario is waited for.

    Evidence: as of «is at least», each time that it was asked.

    Example: Then the query "sum(istio_requests_total)" is at least 10 within 30s
    """
    context.world.claim(context.world.observed.query(promql, "at least", number, duration))


@step('the query "{promql:Promql}" is at most {number:Number} within {duration:Duration}')
def query_gets_at_most(context: Context, promql: str, number: float, duration: Duration) -> None:
    """The one number that Prometheus gives for a query sinks to this in time.

    Counters and windows as without «within»; a window that reaches back before the scenario is waited for.

    Evidence: as of «is at least», each time that it was asked.

    Example: Then the query "sum(rate(istio_requests_total{response_code='503'}[10s]))" is at most 0 within 30s
    """
    context.world.claim(context.world.observed.query(promql, "at most", number, duration))


@step('the query "{promql:Promql}" is exactly {number:Number} within {duration:Duration}')
def query_gets_exactly(context: Context, promql: str, number: float, duration: Duration) -> None:
    """The one number that Prometheus gives for a query becomes this in time.

    Counters and windows as without «within»; a window that reaches back before the scenario is waited for.

    Evidence: as of «is at least», each time that it was asked.

    Example: Then the query "count(up == 1)" is exactly 6 within 30s
    """
    context.world.claim(context.world.observed.query(promql, "exactly", number, duration))


@step("the trace context reaches {service:Service}")
def trace_context_reaches(context: Context, service: str) -> None:
    """The W3C trace id of every request of the last step that sent some arrives with the calls that a service gets.

    Evidence: traces sent and found, and calls that carried another trace or none.

    Example: Then the trace context reaches payment-service
    """
    context.world.claim(context.world.observed.trace_reaches(context.world.service(service)))


@step("the access log of {service:Service} has at least {count:Count} requests with status {status:Status}")
def access_log_has(context: Context, service: str, count: int, status: int) -> None:
    """The proxies of a service logged so many requests to it with this status since the scenario began.

    Evidence: the requests that the logs have, by status.

    Example: Then the access log of payment-service has at least 10 requests with status 200
    """
    context.world.claim(context.world.observed.logged(context.world.service(service), count, status))
