"""Where the command ``meshbdd`` begins: Ctrl-C while it is still being imported ends it in silence.

Nothing has been done by then, so there is nothing to tell; Python would show where in its imports it was.
"""

import signal


def main() -> None:
    """The command ``meshbdd``."""
    try:
        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else somebody wants it ignored
        if ours:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:  # it came within these lines
        raise SystemExit(128 + signal.SIGINT) from None
    from meshbdd.cli import main as command  # noqa: PLC0415 - after that

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command()
