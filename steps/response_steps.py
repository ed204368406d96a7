"""Responses: what the answers must be."""

from behave import step
from behave.runner import Context

from meshbdd.claims import fields, quantiles, responses, shares
from meshbdd.options import percent_option, read_options
from meshbdd.units import Duration, Percent
from meshbdd.vocabulary import register_types

register_types()


@step("the response status is {status:Status}")
def status_is(context: Context, status: int) -> None:
    """The last response has this status.

    Evidence: the status that came, and in a failure what was injected into the request's calls.

    Example: Then the response status is 503
    """
    context.world.judge(responses.status_is([status]))


@step("the response status is {one:Status} or {other:Status}")
def status_is_one_of(context: Context, one: int, other: int) -> None:
    """The last response has one of two statuses.

    Evidence: as of one status.

    Example: Then the response status is 503 or 504
    """
    context.world.judge(responses.status_is([one, other]))


@step('the response field "{path:Text}" is "{value:Text}"')
def field_is(context: Context, path: str, value: str) -> None:
    """A field of the last response's JSON has this value.

    Evidence: the field's value, or what the answer held instead.

    Example: Then the response field "error" is "payment_unavailable"
    """
    context.world.judge(responses.field_is(path, value))


@step('the response field "{path:Text}" of "{name:Text}" is unchanged')
def field_is_unchanged(context: Context, path: str, name: str) -> None:
    """A field of a request's answer is what it was before the scenario's first change.

    Evidence: the value before and the value now. Inconclusive where nothing was changed.

    Example: Then the response field "count" of "orders" is unchanged
    """
    context.world.claim_unchanged(path, name)


@step("the response arrives within {duration:Duration}")
def arrives_within(context: Context, duration: Duration) -> None:
    """The last response, whole, came in time.

    Evidence: the latency in seconds, from the request's start to the last byte of the answer.

    Example: Then the response arrives within 3s
    """
    context.world.judge(responses.arrives_within(duration))


@step("the response takes at least {duration:Duration}")
def takes_at_least(context: Context, duration: Duration) -> None:
    """The last response, whole, came no sooner: for what has to be waited for, as tries that add up.

    Proxies' timers may be early: 5 ms, or a tenth of the duration if that is less, are not asked of it.

    Evidence: the latency in seconds, from the request's start to the last byte of the answer.

    Example: Then the response takes at least 900ms
    """
    context.world.judge(responses.takes_at_least(duration))


@step("every response has status {status:Status}")
def every_status_is(context: Context, status: int) -> None:
    """Every response has this status.

    Evidence: how many had it, the others by status, and what the number of requests can prove.

    Example: Then every response has status 200
    """
    context.world.judge(shares.every_status_is(status))


@step("at least {percent:Percent} of requests succeed")
def succeed_at_least(context: Context, percent: Percent) -> None:
    """Enough requests succeed.

    Evidence: requests and successes, the interval for the true share (percent), failures by status and response
    flag.

    Example: Then at least 95% of requests succeed
    """
    context.world.judge(shares.succeed_at_least(percent))


@step("more than {percent:Percent} of requests succeed")
def succeed_more_than(context: Context, percent: Percent) -> None:
    """More than this share of requests succeeds.

    Evidence: as of «at least».

    Example: Then more than 95% of requests succeed
    """
    context.world.judge(shares.succeed_more_than(percent))


@step("at most {percent:Percent} of requests fail")
def fail_at_most(context: Context, percent: Percent) -> None:
    """Not too many requests fail.

    Evidence: as of «at least … succeed», for failures.

    Example: Then at most 5% of requests fail
    """
    context.world.judge(shares.fail_at_most(percent))


@step("at least {percent:Percent} of requests fail")
def fail_at_least(context: Context, percent: Percent) -> None:
    """So many requests fail: for what has to be turned away.

    Evidence: as of «at least … succeed», for failures.

    Example: Then at least 50% of requests fail
    """
    context.world.judge(shares.fail_at_least(percent))


@step('between {low:Percent} and {high:Percent} of responses have "{path:Text}" equal to "{value:Text}"')
def share_between(context: Context, low: Percent, high: Percent, path: str, value: str) -> None:
    """A share of the responses within these bounds has a field equal to a value.

    Evidence: responses and hits, the interval for the true share (percent), and the share that the scenario
    configures.

    Example: Then between 5% and 20% of responses have "version" equal to "canary"
    """
    context.world.judge(fields.between(low, high, path, value, context.world.changes.configured_shares()))


@step('about {share:Percent} of responses have "{path:Text}" equal to "{value:Text}"')
def share_about(context: Context, share: Percent, path: str, value: str) -> None:
    """About this share of the responses has a field equal to a value.

    Accepted is what lies ``within`` so many points as the table says; by default from half of the share to half as
    much again, at least five points more. Above 50% that is mirrored: about 90% means the rest is about 10%.

    Evidence: as of «between», and the bounds that were accepted (percent).

    Example: Then about 10% of responses have "version" equal to "canary"
    """
    points = percent_option(read_options(context.table, ("within",)), "within")
    context.world.judge(fields.about(share, path, value, context.world.changes.configured_shares(), points))


@step("the {quantile:Quantile} latency is below {duration:Duration}")
def latency_below(context: Context, quantile: float, duration: Duration) -> None:
    """A quantile of the latencies, p50, p90, p95, p99 or p99.9, is below a limit.

    A request without an answer counts as slower than any limit.

    Evidence: the quantile in milliseconds, with the bounds that the number of requests gives it.

    Example: Then the p99 latency is below 300ms
    """
    context.world.judge(quantiles.latency_below(quantile, duration))


@step("the connection is refused")
def connection_refused(context: Context) -> None:
    """The connection was refused or reset before an answer began.

    Evidence: how the connection ended, and after how many milliseconds.

    Example: Then the connection is refused
    """
    context.world.claim_refused()


@step("the request is denied")
def request_denied(context: Context) -> None:
    """A proxy answered 403 or PERMISSION_DENIED.

    Evidence: the status, and who denied it by the proxies' own logs.

    Example: Then the request is denied
    """
    context.world.claim_denied()


@step("the request is turned away")
def request_turned_away(context: Context) -> None:
    """The request did not get in: its connection was refused, or a proxy denied it. Meshes differ in which of both they do.

    Evidence: how it ended, and who denied it by the proxies' own logs.

    Example: Then the request is turned away
    """
    context.world.claim_turned_away()
