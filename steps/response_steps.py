"""Responses: what the answers must be."""

from behave import step
from behave.runner import Context

from meshbdd.claims import responses, shares
from meshbdd.units import Duration, Percent
from meshbdd.vocabulary import register_types

register_types()


@step("the response status is {status:Status}")
def status_is(context: Context, status: int) -> None:
    """The last response has this status.

    Example: Then the response status is 503
    """
    context.world.judge(responses.status_is([status]))


@step("the response status is {one:Status} or {other:Status}")
def status_is_one_of(context: Context, one: int, other: int) -> None:
    """The last response has one of two statuses.

    Example: Then the response status is 503 or 504
    """
    context.world.judge(responses.status_is([one, other]))


@step('the response field "{path:Text}" is "{value:Text}"')
def field_is(context: Context, path: str, value: str) -> None:
    """A field of the last response's JSON has this value.

    Example: Then the response field "error" is "payment_unavailable"
    """
    context.world.judge(responses.field_is(path, value))


@step('the response field "{path:Text}" of "{name:Text}" is unchanged')
def field_is_unchanged(context: Context, path: str, name: str) -> None:
    """A field of a request's answer is what it was before the scenario's first change.

    Example: Then the response field "count" of "orders" is unchanged
    """
    context.world.claim_unchanged(path, name)


@step("the response arrives within {duration:Duration}")
def arrives_within(context: Context, duration: Duration) -> None:
    """The last response, whole, came in time.

    Example: Then the response arrives within 3s
    """
    context.world.judge(responses.arrives_within(duration))


@step("every response has status {status:Status}")
def every_status_is(context: Context, status: int) -> None:
    """Every response has this status.

    Example: Then every response has status 200
    """
    context.world.judge(shares.every_status_is(status))


@step("at least {percent:Percent} of requests succeed")
def succeed_at_least(context: Context, percent: Percent) -> None:
    """Enough requests succeed.

    Example: Then at least 95% of requests succeed
    """
    context.world.judge(shares.succeed_at_least(percent))


@step("more than {percent:Percent} of requests succeed")
def succeed_more_than(context: Context, percent: Percent) -> None:
    """More than this share of requests succeeds.

    Example: Then more than 95% of requests succeed
    """
    context.world.judge(shares.succeed_more_than(percent))


@step("at most {percent:Percent} of requests fail")
def fail_at_most(context: Context, percent: Percent) -> None:
    """Not too many requests fail.

    Example: Then at most 5% of requests fail
    """
    context.world.judge(shares.fail_at_most(percent))


@step("the connection is refused")
def connection_refused(context: Context) -> None:
    """The connection was refused or reset before an answer began.

    Example: Then the connection is refused
    """
    context.world.judge(responses.is_refused())


@step("the request is denied")
def request_denied(context: Context) -> None:
    """A proxy answered 403 or PERMISSION_DENIED.

    Example: Then the request is denied
    """
    context.world.judge(responses.is_denied())
