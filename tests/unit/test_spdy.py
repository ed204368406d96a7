"""SPDY/3.1 as a port-forward of kubectl speaks it."""

from __future__ import annotations

import struct
import zlib

import pytest

from meshbdd.lab.api.spdy import DICTIONARY, Data, Event, Opened, Ping, Reset, Session, data, pong


def frame(kind: int, payload: bytes, version: int = 3) -> bytes:
    return struct.pack(">HHI", 0x8000 | version, kind, len(payload)) + payload


class Client:
    """The other side, which compresses all its headers as one stream."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def open(self, stream: int, **headers: str) -> bytes:
        block = struct.pack(">I", len(headers))
        for text in (text for pair in headers.items() for text in pair):
            block += struct.pack(">I", len(text)) + text.encode()
        told = self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return frame(1, struct.pack(">IIH", stream, 0, 0) + told)


def test_the_dictionary_is_that_of_the_protocol() -> None:
    """Its checksum stands in what every client sends: draft 3, section 2.6.10.1, and RFC 1950, section 2.2."""
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


@pytest.mark.parametrize("at_a_time", [1, 7, 10_000])
def test_frames_come_out_whole_however_they_arrive(at_a_time: int) -> None:
    client, session = Client(), Session()
    told = client.open(1, streamtype="error", port="8080", requestid="0")
    told += frame(4, struct.pack(">I", 0))  # settings, which change nothing
    told += client.open(3, streamType="data", port="8080", requestid="0")
    told += data(3, b"hello") + data(3, b"", finished=True) + frame(6, struct.pack(">I", 7))
    told += frame(3, struct.pack(">II", 3, 5))
    seen: list[Event] = []
    for place in range(0, len(told), at_a_time):
        seen += session.feed(told[place : place + at_a_time])
    assert seen == [
        Opened(1, {"streamtype": "error", "port": "8080", "requestid": "0"}),
        Opened(3, {"streamtype": "data", "port": "8080", "requestid": "0"}),
        Data(3, b"hello", False),
        Data(3, b"", True),
        Ping(7),
        Reset(3),
    ]


def test_replies_are_one_compressed_stream() -> None:
    session, inflate = Session(), zlib.decompressobj(zdict=DICTIONARY)
    for stream in (1, 3):
        told = session.accept(stream)
        assert told[:4] == b"\x80\x03\x00\x02"
        assert struct.unpack(">II", told[4:12]) == (len(told) - 8, stream)
        assert inflate.decompress(told[12:]) == struct.pack(">I", 0)
    assert pong(7) == frame(6, struct.pack(">I", 7))


@pytest.mark.parametrize(
    "wrong",
    [
        frame(1, b"\0\0\0\1", version=2),
        frame(1, b""),
        frame(3, b"\0"),
        frame(1, struct.pack(">IIH", 1, 0, 0) + b"no zlib"),
        frame(1, struct.pack(">IIH", 1, 0, 0) + zlib.compress(struct.pack(">II", 1, 1000))),
    ],
)
def test_what_is_no_spdy_is_said(wrong: bytes) -> None:
    with pytest.raises(ValueError, match=r"SPDY|a frame that is none"):
        list(Session().feed(wrong))
