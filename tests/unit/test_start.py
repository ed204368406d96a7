"""The very first lines of the command."""

import signal

import pytest

from meshbdd import start


def test_ctrl_c_in_the_first_lines_ends_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(signal, "signal", interrupted)
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.default_int_handler)
    with pytest.raises(SystemExit) as ended:
        start.main()
    assert ended.value.code == 128 + signal.SIGINT
