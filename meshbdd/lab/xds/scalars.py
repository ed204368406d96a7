"""Values that are no message in protobuf JSON, as ``jsonpb`` reads them."""

from __future__ import annotations

import base64
import binascii
import math
import re
import sys
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field

from meshbdd.lab.xds.messages import MessageError

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,19})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_LARGEST_FLOAT = (2 - 2**-23) * 2.0**127
_SAID = {str: "a text", bool: "a truth value", int: "a number", float: "a number", list: "a list", type(None): "null"}


def wrong(path: str, wanted: str, value: Any) -> MessageError:
    """The sentence for a value of the wrong form."""
    said = f'"{value}"' if isinstance(value, str) else _SAID.get(type(value), "a message")
    return MessageError(f"{path or 'the value'}: {said} is no {wanted}")


def scalar(field: Any, value: Any, path: str) -> Any:
    """The value of a field that is no message, or of one entry of it; ``null`` is the type's zero.

    Raises:
        MessageError: a value of the wrong form; the sentence begins with ``path``.
    """
    if value is None:
        return b"" if field.type == field.TYPE_BYTES else _ZEROS.get(field.cpp_type, 0)
    return _READERS[field.cpp_type](field, value, path)


def _literal(value: Any) -> str:
    """What Go's reader finds: a number of the API is a 64-bit float, and a text is looked at without its quotes."""
    if isinstance(value, str):
        return value.strip(" \t\r\n")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    try:
        number = float(value)
    except OverflowError:
        return ""
    return str(int(number)) if number.is_integer() and abs(number) < 1e21 else repr(number)


def _integer(bits: int, *, signed: bool) -> Callable[[Any, Any, str], int]:
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    wanted = f"integer from {least} to {most}"

    def of(_field: Any, value: Any, path: str) -> int:
        text = _literal(value)
        if text == "null":
            return 0
        if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
            raise wrong(path, wanted, value)
        return int(text)

    return of


def _float(largest: float) -> Callable[[Any, Any, str], float]:
    def of(_field: Any, value: Any, path: str) -> float:
        if isinstance(value, str) and value in _NOT_FINITE:
            return _NOT_FINITE[value]
        text = _literal(value)
        if text == "null":
            return 0.0
        if not _NUMBER.fullmatch(text) or abs(float(text)) > largest:
            raise wrong(path, "number", value)
        return float(text)

    return of


def _bool(_field: Any, value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise wrong(path, "truth value", value)
    return value


def _text(field: Any, value: Any, path: str) -> str | bytes:
    if not isinstance(value, str):
        raise wrong(path, "text", value)
    try:
        if field.type != field.TYPE_BYTES:
            value.encode()  # half of a surrogate pair is no text
            return value
        return base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
    except UnicodeEncodeError:
        raise MessageError(f"{path}: it is no text of Unicode") from None
    except binascii.Error:
        raise wrong(path, "base64", value) from None


def _enum(field: Any, value: Any, path: str) -> int:
    if not isinstance(value, str):
        return int(_READERS[field.CPPTYPE_INT32](field, value, path))
    known = field.enum_type.values_by_name.get(value)
    if known is None:
        raise wrong(path, f"{field.enum_type.full_name} ({', '.join(field.enum_type.values_by_name)})", value)
    return int(known.number)


_ZEROS: dict[int, Any] = {
    Field.CPPTYPE_BOOL: False, Field.CPPTYPE_STRING: "", Field.CPPTYPE_FLOAT: 0.0, Field.CPPTYPE_DOUBLE: 0.0,
}  # fmt: skip
_READERS: dict[int, Callable[[Any, Any, str], Any]] = {
    Field.CPPTYPE_INT32: _integer(32, signed=True), Field.CPPTYPE_INT64: _integer(64, signed=True),
    Field.CPPTYPE_UINT32: _integer(32, signed=False), Field.CPPTYPE_UINT64: _integer(64, signed=False),
    Field.CPPTYPE_FLOAT: _float(_LARGEST_FLOAT), Field.CPPTYPE_DOUBLE: _float(sys.float_info.max),
    Field.CPPTYPE_BOOL: _bool, Field.CPPTYPE_ENUM: _enum, Field.CPPTYPE_STRING: _text,
}  # fmt: skip
