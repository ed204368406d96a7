"""Protobuf JSON as Istio reads it in EnvoyFilters: by golang/protobuf's old ``jsonpb`` (v1.5.4), not by protobuf's own rules.

It takes what Python's parser refuses: a duration is any of Go's, ``null`` says nothing, of several fields of a ``oneof``
the one that Envoy declares last counts. And it refuses what Python's parser takes: a text, or a list, for a message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import descriptor_pool, message_factory

from meshbdd.lab.go import seconds
from meshbdd.lab.xds.messages import MessageError
from meshbdd.lab.xds.scalars import scalar, wrong

_PACKAGE = "google.protobuf."
_WRAPPERS = {
    f"{_PACKAGE}{kind}Value"
    for kind in ("Bool", "Bytes", "String", "Int32", "UInt32", "Int64", "UInt64", "Float", "Double")
}
_VALUE = f"{_PACKAGE}Value"
_OWN_FORM = {
    *_WRAPPERS, _VALUE, *(f"{_PACKAGE}{name}" for name in ("Any", "Duration", "Timestamp", "Struct", "ListValue", "Empty")),
}  # fmt: skip
"""Messages that an Any holds under ``value``."""


def read(message: Any, value: Any, *, drop_unknown: bool = False) -> Any:
    """A message of class ``message`` from a JSON value.

    Args:
        message: The message's class.
        value: Its fields, by the names of the ``.proto`` file or in camel case.
        drop_unknown: Whether a field that the message does not have is passed over.

    Raises:
        MessageError: a value of the wrong form, or an unknown field; the sentence begins with its path.
    """
    made = message()
    _Reader(drop_unknown).message(made, value, "")
    return made


class _Reader:
    def __init__(self, drop_unknown: bool) -> None:
        self._drop_unknown = drop_unknown
        self._forms: dict[str, Callable[[Any, Any, str], None]] = {
            f"{_PACKAGE}Any": self._any, f"{_PACKAGE}Duration": _duration, f"{_PACKAGE}Timestamp": _timestamp,
            _VALUE: self._value, f"{_PACKAGE}Struct": self._struct, f"{_PACKAGE}ListValue": self._list_value,
            **dict.fromkeys(_WRAPPERS, self._wrapper),
        }  # fmt: skip

    def message(self, made: Any, value: Any, path: str) -> None:
        """Fill ``made`` in."""
        name = made.DESCRIPTOR.full_name
        if value is None and name != _VALUE:
            return
        self._forms.get(name, self._fields)(made, value, path)

    def _fields(self, made: Any, value: Any, path: str) -> None:
        if not isinstance(value, Mapping):
            raise wrong(path, f"message ({made.DESCRIPTOR.full_name})", value)
        left = dict(value)
        # In the order of declaration: of a oneof the last stays.
        for field in made.DESCRIPTOR.fields:
            said = [left.pop(name) for name in dict.fromkeys((field.name, field.json_name)) if name in left]
            if said and (said[-1] is not None or _takes_null(field)):
                self._field(made, field, said[-1], f"{path}.{field.name}".lstrip("."))
        if left and not self._drop_unknown:
            raise MessageError(
                f"{f'{path}.{next(iter(left))}'.lstrip('.')}: {made.DESCRIPTOR.full_name} has no such field"
            )

    def _field(self, made: Any, field: Any, value: Any, path: str) -> None:
        if field.is_repeated:
            of = field.message_type
            fill = self._map if of is not None and of.GetOptions().map_entry else self._list
            fill(getattr(made, field.name), field, value, path)
        elif field.message_type is not None:
            held = getattr(made, field.name)
            held.SetInParent()
            self.message(held, value, path)
        else:
            setattr(made, field.name, scalar(field, value, path))

    def _list(self, held: Any, field: Any, value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise wrong(path, "list", value)
        for index, item in enumerate(value):
            if field.message_type is None:
                held.append(scalar(field, item, f"{path}[{index}]"))
            else:
                self.message(held.add(), item, f"{path}[{index}]")

    def _map(self, held: Any, field: Any, value: Any, path: str) -> None:
        if not isinstance(value, Mapping):
            raise wrong(path, "map", value)
        of, to = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        for name, item in value.items():
            key = scalar(of, name, path)
            if to.message_type is None:
                held[key] = scalar(to, item, f"{path}.{name}")
            else:
                self.message(held[key], item, f"{path}.{name}")

    # Messages with a JSON of their own

    def _any(self, made: Any, value: Any, path: str) -> None:
        if not isinstance(value, Mapping):
            raise wrong(path, "message with a @type", value)
        url = value.get("@type")
        if not isinstance(url, str):
            raise MessageError(f"{path}.@type: it is missing" if url is None else f"{path}.@type: it is no text")
        try:
            descriptor = descriptor_pool.Default().FindMessageTypeByName(url.rpartition("/")[2])
        except KeyError:
            raise MessageError(f"{path}.@type: there is no message {url}") from None
        inner = message_factory.GetMessageClass(descriptor)()
        if descriptor.full_name in _OWN_FORM:
            if "value" not in value:
                raise MessageError(f"{path}.value: it is missing")
            self.message(inner, value["value"], f"{path}.value")
        else:
            self.message(inner, {name: item for name, item in value.items() if name != "@type"}, path)
        made.type_url, made.value = url, inner.SerializeToString()

    def _wrapper(self, made: Any, value: Any, path: str) -> None:
        made.value = scalar(made.DESCRIPTOR.fields_by_name["value"], value, path)

    def _value(self, made: Any, value: Any, path: str) -> None:
        if value is None:
            made.null_value = 0
        elif isinstance(value, bool):
            made.bool_value = value
        elif isinstance(value, str):
            made.string_value = scalar(made.DESCRIPTOR.fields_by_name["string_value"], value, path)
        elif isinstance(value, int | float):
            made.number_value = scalar(made.DESCRIPTOR.fields_by_name["number_value"], value, path)
        elif isinstance(value, list):
            made.list_value.SetInParent()
            self._list_value(made.list_value, value, path)
        else:
            made.struct_value.SetInParent()
            self._struct(made.struct_value, value, path)

    def _struct(self, made: Any, value: Any, path: str) -> None:
        self._map(made.fields, made.DESCRIPTOR.fields_by_name["fields"], value, path)

    def _list_value(self, made: Any, value: Any, path: str) -> None:
        self._list(made.values, made.DESCRIPTOR.fields_by_name["values"], value, path)


def _takes_null(field: Any) -> bool:
    of = field.message_type or field.enum_type
    return not field.is_repeated and of is not None and of.full_name in {_VALUE, f"{_PACKAGE}NullValue"}


def _duration(made: Any, value: Any, path: str) -> None:
    try:
        nanos = int(seconds(value) * 1_000_000_000) if isinstance(value, str) else None
    except ValueError:
        nanos = None
    if nanos is None:
        raise wrong(path, "duration", value)
    whole, rest = divmod(abs(nanos), 1_000_000_000)
    sign = -1 if nanos < 0 else 1
    made.seconds, made.nanos = sign * whole, sign * rest


def _timestamp(made: Any, value: Any, path: str) -> None:
    try:
        made.FromJsonString(value)
    except (ValueError, TypeError, AttributeError):
        raise wrong(path, "timestamp", value) from None
