"""Requests: what is sent, how often, and from where."""

from behave import step
from behave.runner import Context

from meshbdd.options import count_option, read_options
from meshbdd.units import Duration, Rate
from meshbdd.vocabulary import register_types

register_types()


@step('the request "{name:Text}":')
def request(context: Context, name: str) -> None:
    """A request in the form of an HTTP message; ``${uuid}`` gives a fresh id.

    Evidence: the message, with secrets masked, at the step that sends it.

    Example: Given the request "checkout":
    """
    context.world.traffic.define(name, context.text, context.world.place)


@step('"{name:Text}" is sent')
def sent(context: Context, name: str) -> None:
    """One request is sent.

    Evidence: request and answer, with status, latency in milliseconds, request id and the pod that it came from.

    Example: When "checkout" is sent
    """
    context.world.traffic.send(name)


@step('"{name:Text}" is sent {count:Count} times')
def sent_times(context: Context, name: str, count: int) -> None:
    """Requests are sent, one after the other.

    Evidence: one line for each request (start, latency in milliseconds, status), and plots of them.

    Example: When "checkout" is sent 100 times
    """
    context.world.traffic.send(name, count)


@step('"{name:Text}" is sent {count:Count} times by {users:Count} users')
def sent_by_users(context: Context, name: str, count: int, users: int) -> None:
    """Requests are sent by several users at a time.

    Evidence: as of «is sent … times».

    Example: When "checkout" is sent 100 times by 5 users
    """
    context.world.traffic.send(name, count, users)


@step('"{name:Text}" is sent at {rate:Rate} for {duration:Duration}')
def sent_at_rate(context: Context, name: str, rate: Rate, duration: Duration) -> None:
    """Requests start as a schedule says, whatever became of those before; latencies count from the scheduled times.

    Evidence: as of «is sent … times», latencies from the scheduled times, and how the rate per second was held.

    Example: When "checkout" is sent at 200/s for 30s
    """
    context.world.traffic.send_at_rate(name, rate, duration)


@step('"{name:Text}" keeps being sent at {rate:Rate}')
def keeps_being_sent(context: Context, name: str, rate: Rate) -> None:
    """Requests start as a schedule says while the steps that follow run, until the load stops or the scenario ends.

    Evidence: as of «is sent at», given when the load stops.

    Example: When "checkout" keeps being sent at 50/s
    """
    context.world.traffic.keep_sending(name, rate)


@step("the load stops")
def load_stops(context: Context) -> None:
    """The load that keeps being sent ends; the claims that follow judge all of it.

    Evidence: one line for each request of the load, and how its rate per second was held.

    Example: When the load stops
    """
    context.world.traffic.stop_load()


@step('"{name:Text}" is sent from outside the mesh')
def sent_from_outside(context: Context, name: str) -> None:
    """One request is sent by a client without a sidecar.

    Evidence: as of «is sent», from the pod without a sidecar.

    Example: When "checkout" is sent from outside the mesh
    """
    context.world.traffic.send(name, outside=True)


@step('enough "{name:Text}" requests are sent')
def sent_enough(context: Context, name: str) -> None:
    """As many requests are sent as the claims that follow need, by 5 users at a time.

    The table may name other ``users``, and how many requests there are ``at most``.

    Evidence: the claims that follow say how many they drew, and why that was enough.

    Example: When enough "checkout" requests are sent
    """
    options = read_options(context.table, ("users", "at most"))
    context.world.traffic.enough(name, count_option(options, "users"), count_option(options, "at most"))
