"""Resilience: how services treat each other when one is slow, failing or gone."""

from behave import step
from behave.runner import Context

from meshbdd.options import duration_option, read_options
from meshbdd.units import Duration
from meshbdd.vocabulary import register_types

register_types()


@step("{caller:Service} gives up on {callee:Service} within {duration:Duration}")
def gives_up(context: Context, caller: str, callee: str, duration: Duration) -> None:
    """A service spends at most so long on another for one request, retries included; needs a callee that is slower.

    Evidence: the calls in the callers' access logs. Inconclusive where nobody had to give up.

    Example: Then order-service gives up on inventory-service within 3s
    """
    world = context.world
    world.claim(world.resilience.gives_up(world.service(caller), world.service(callee), duration))


@step("{caller:Service} calls {callee:Service} at most {count:Count} times per request")
def calls_at_most(context: Context, caller: str, callee: str, count: int) -> None:
    """A bound on tries, the application's and its proxy's together; ``| apart | 20ms |`` asks for pauses between them.

    A call is to the service that it asks for, wherever a route leads it.

    Evidence: the tries of each request in both access logs. Inconclusive where no request ended in a failing call.

    Example: Then order-service calls payment-service at most 6 times per request
    """
    options, world = read_options(context.table, ("apart",)), context.world
    apart = duration_option(options, "apart")
    world.claim(world.resilience.called_at_most(world.service(caller), world.service(callee), count, apart))


@step("{caller:Service} calls {callee:Service} at least {count:Count} times per request")
def calls_at_least(context: Context, caller: str, callee: str, count: int) -> None:
    """Nobody gives up sooner: as many tries, the application's and its proxy's together, of each request that fails.

    Evidence: the tries of each request in both access logs. Inconclusive where no request ended in a failing call.

    Example: Then client calls payment-service at least 4 times per request
    """
    world = context.world
    world.claim(world.resilience.called_at_least(world.service(caller), world.service(callee), count))


@step("the circuit to {service:Service} is open")
def circuit_is_open(context: Context, service: str) -> None:
    """Every endpoint of a service, of each subset to which routes lead, is ejected at every caller that sent traffic.

    By the word of the callers' proxies.

    Evidence: ejections at each caller, and the circuit's states replayed over the access logs.

    Example: Then the circuit to payment-service is open
    """
    context.world.claim(context.world.circuits.is_open(context.world.service(service)))


@step("the circuit to {service:Service} opens within {duration:Duration}")
def circuit_opens(context: Context, service: str, duration: Duration) -> None:
    """The circuit of every caller opens so soon after the first error that it met; waits as long for it.

    Evidence: as of «is open». Inconclusive where the callers met too few errors in a row.

    Example: Then the circuit to payment-service opens within 2s
    """
    context.world.claim(context.world.circuits.opens(context.world.service(service), duration))


@step("the circuit to {service:Service} is half-open within {duration:Duration}")
def circuit_half_opens(context: Context, service: str, duration: Duration) -> None:
    """Each caller's open circuit lets calls through again, whatever becomes of them, so long after the step began.

    Waits for it; where no load runs, the request sent last is then sent once more, and others for callers and endpoints that it
    does not reach.

    Evidence: as of «is open». Inconclusive where the circuit was never open, and where no call reached the service again.

    Example: Then the circuit to payment-service is half-open within 10s
    """
    context.world.claim(context.world.circuits.half_opens(context.world.service(service), duration))


@step("the circuit to {service:Service} closes within {duration:Duration}")
def circuit_closes(context: Context, service: str, duration: Duration) -> None:
    """No caller's proxy ejects an endpoint of a service any more, and calls succeed again, so long after the step began.

    Waits for it. An ejection that has ended leaves the circuit half-open: where no load runs, the request sent last is then
    sent once more, one at a time, until one succeeds; others are sent for callers and endpoints that it does not reach, those
    that met nothing but errors after the rest.

    Evidence: as of «is open». Inconclusive where the circuit was never open, and where no call reached the service again.

    Example: Then the circuit to payment-service closes within 5s
    """
    context.world.claim(context.world.circuits.closes(context.world.service(service), duration))


@step('a slow {service:Service} does not slow "{name:Text}"')
def slow_does_not_slow(context: Context, service: str, name: str) -> None:
    """Requests take as long as before the scenario's first change, though calls to a service are slow meanwhile.

    Their p90 may grow by a tenth of what the slow calls take (50 ms to 500 ms), or by what ``| by at most | 20ms |`` says.
    Sends as many as the claim needs. Inconclusive where nobody called the service, or it was not slow.

    Evidence: the p90 before and while it is slow (ms), how much slower it was, and the requests of either kind.

    Example: Then a slow inventory-service does not slow "version"
    """
    options, world = read_options(context.table, ("by at most",)), context.world
    growth = duration_option(options, "by at most")
    world.claim(world.resilience.not_slowed(world.service(service), name, growth))


@step("the sidecar adds less than {duration:Duration} to the median latency")
def sidecar_adds(context: Context, duration: Duration) -> None:
    """The request sent last takes so little longer from a client with a sidecar than from one without.

    Sends 200 of either kind, in turns. Inconclusive where one kind fails, as under strict mutual TLS.

    Evidence: the medians with and without a sidecar in milliseconds, and the bounds of their difference.

    Example: Then the sidecar adds less than 20ms to the median latency
    """
    context.world.claim(context.world.overhead.adds(duration))


@step("the sidecar adds less than {duration:Duration} to the {quantile:Quantile} latency")
def sidecar_adds_to_quantile(context: Context, duration: Duration, quantile: float) -> None:
    """As for the median, for another latency quantile.

    Sends as many of either kind as bounds on the quantile need: 1,444 for the p99.

    Evidence: the quantiles with and without a sidecar in milliseconds, and the bounds of their difference.

    Example: Then the sidecar adds less than 50ms to the p99 latency
    """
    context.world.claim(context.world.overhead.adds(duration, quantile))


@step("the sidecar adds less than {duration:Duration} to the cold start of {service:Service}")
def sidecar_adds_to_cold_start(context: Context, duration: Duration, service: str) -> None:
    """A pod of the service is ready so little later with a sidecar than without: the medians of 8 starts of either kind, or of 21.

    Starts copies of the pod that no Service leads to, one after the other, and deletes them: 21 where 8 are no proof.

    Evidence: the seconds of each start, with and without a sidecar, and the bounds of the medians' difference.

    Example: Then the sidecar adds less than 2s to the cold start of payment-service
    """
    world = context.world
    world.claim(world.overhead.cold_start(world.service(service), duration))
