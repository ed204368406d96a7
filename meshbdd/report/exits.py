"""What behave lets end a run without a word, or passes over: it becomes an error of what raised it, and is told.

behave 1.3 catches ``Exception`` only. ``sys.exit()`` in a step, a hook or a clean-up, and errors that are no
``Exception`` (``pytest.fail``, asyncio's cancellation), would end the process at once: with the fault in the mesh, and
with the exit code that they carry, green for all that had failed before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from behave.matchers import Match
from behave.runner import Context, ModelRunner

from meshbdd.report.formatter import report_problem

_GUARDED = "_meshbdd_guarded"


class PastBehave(BaseException):
    """What is to pass behave, and ends the run in order."""


def watch() -> None:
    """Guard every step, hook and clean-up of this process; called once."""
    Match.run = guarded(Match.run, "the step")
    _watch_hooks()
    _watch_cleanups()


def guarded(function: Callable[..., Any], who: str, then: Callable[[], object] | None = None) -> Callable[..., Any]:
    """A function out of which no error comes but an ``Exception`` or Ctrl-C.

    Args:
        function: What is called.
        who: What it is to a reader.
        then: Called where it raised something else.

    Raises:
        RuntimeError: it raised something else, which is its cause.
    """
    if hasattr(function, _GUARDED):
        return function

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except (Exception, KeyboardInterrupt, PastBehave):
            raise
        except BaseException as error:
            if then is not None:
                then()
            told = f"called sys.exit({error.code!r})" if isinstance(error, SystemExit) else f"raised {error!r}"
            raise RuntimeError(f"{who} {told}, which says nothing of what is tested") from error

    setattr(run, _GUARDED, True)
    return run


def _watch_hooks() -> None:
    """A hook that calls ``sys.exit()`` ends the run, as behave has it, and is said to have failed, which it leaves out.

    So does one that Ctrl-C ends, and that is kept as what it is.

    Of ``after_all`` behave prints an error only.
    """
    run_hook = ModelRunner.run_hook

    def run(self: Any, name: str, *arguments: Any) -> bool:
        hook = self.hooks.get(name)
        if hook is not None:
            hook = guarded(hook, f"the hook {name}", lambda: self.abort(reason=f"sys.exit() in {name}"))
            self.hooks[name] = _told(hook) if name == "after_all" else hook
        aborted = self.aborted
        passed = bool(run_hook(self, name, *arguments))
        if self.aborted and not aborted:
            _keep_interruption(self.context, name, *arguments)
        return passed

    ModelRunner.run_hook = run


def _keep_interruption(context: Any, name: str, *arguments: Any) -> None:
    """Let a step, a scenario or what is around it have Ctrl-C that came in a hook of its: behave says only that the hook failed.

    Args:
        context: behave's.
        name: The hook.
        arguments: What it is called with.
    """
    of_tag = (getattr(context, around, None) for around in ("scenario", "rule", "feature"))
    about = next(filter(None, of_tag), None) if name.endswith("_tag") else next(iter(arguments), None)
    if about is not None and about.exception is None:
        about.exception = KeyboardInterrupt()


def _told(after_all: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(after_all)
    def run(*arguments: Any) -> None:
        try:
            after_all(*arguments)
        except Exception as error:
            report_problem(error, "after_all: ")
            raise

    return run


def _watch_cleanups() -> None:
    """Clean-ups of a feature, a rule or the run that fail are problems outside of any scenario."""
    clean_up = Context._do_cleanups

    def run(self: Any) -> None:
        layer = self._stack[0] if self._stack else {}
        where = layer.get("@layer")
        container = layer.get(where) if where in {"feature", "rule"} else None
        around = f"{where} «{container.name}»" if container is not None else "" if where == "scenario" else "the run"
        layer["@cleanups"] = [_clean_up(function, around) for function in layer.get("@cleanups", ())]
        clean_up(self)

    Context._do_cleanups = run


def _clean_up(function: Callable[[], Any], around: str) -> Callable[[], Any]:
    """A clean-up that is told of where it fails.

    Args:
        function: The clean-up.
        around: What it is of; empty for a scenario, whose result tells of it.
    """
    name = getattr(function, "__name__", None) or repr(function)
    guard = guarded(function, f"the clean-up {name}")

    @wraps(function)
    def run() -> None:
        try:
            guard()
        except Exception as error:
            if around:
                report_problem(error, f"{around}: CLEANUP-ERROR in {name}: ")
            raise

    run.__name__ = name
    return run
