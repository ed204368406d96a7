"""What a scenario's parts need of the mesh: declared where the need is, asked of the mesh before they begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from meshbdd.intents import ServiceRef
from meshbdd.mesh.abilities import Ability, Need

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a step asks of the mesh.

    Attributes:
        need: What is needed.
        services: The services that it is about.
    """

    need: Need
    services: tuple[ServiceRef, ...] = ()


class _Requires(Protocol):
    def require(self, asked: Asked, what: str) -> None: ...


class _InAScenario(Protocol):
    @property
    def _environment(self) -> _Requires: ...


S = TypeVar("S", bound=_InAScenario)


def needs(ability: Ability) -> Callable[[Callable[Concatenate[S, P], T]], Callable[Concatenate[S, P], T]]:
    """A claim that needs an ability: where the mesh lacks it, the claim is not begun.

    The need stands on the function as ``ability``, for those who want to know before.
    """

    def decorate(function: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
        @wraps(function)
        def checked(self: S, /, *args: P.args, **named: P.kwargs) -> T:
            self._environment.require(Asked(ability, services_in(*args, *named.values())), str(ability))
            return function(self, *args, **named)

        checked.ability = ability  # type: ignore[attr-defined] # a function takes attributes
        return checked

    return decorate


def services_in(*values: object) -> tuple[ServiceRef, ...]:
    """The services among some arguments, and among the fields of intents."""
    found: list[ServiceRef] = []
    for value in values:
        if isinstance(value, ServiceRef):
            found.append(value)
        elif is_dataclass(value):
            found += services_in(*(getattr(value, field.name) for field in fields(value)))
    return tuple(dict.fromkeys(found))
