"""A signal is kept until nothing is half done, and never lost."""

import signal

import pytest

from training.engine.interruption import deferred, stop_if_asked


@pytest.fixture(autouse=True)
def usual_handlers():
    """Those of a program that Ctrl-C and SIGTERM end at once."""
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def is_asked():
    try:
        stop_if_asked()
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_next_place_to_stop(number, capfd):
    done = []
    with pytest.raises(KeyboardInterrupt), deferred():
        stop_if_asked()  # nobody asked yet
        signal.raise_signal(number)
        done.append("the rest of the iteration")
        stop_if_asked()
        done.append("another iteration")
    assert done == ["the rest of the iteration"]
    assert capfd.readouterr().err.strip() == "Stopping after the current iteration. Press Ctrl-C again to stop now."
    assert not is_asked()  # what was asked of one run is nothing to the next


def test_a_signal_after_the_last_place_to_stop_is_not_lost():
    done = []
    with pytest.raises(KeyboardInterrupt), deferred():
        signal.raise_signal(signal.SIGINT)
        done.append("all")
    assert done == ["all"]


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(second):
    done = []
    with pytest.raises(KeyboardInterrupt), deferred():
        signal.raise_signal(signal.SIGINT)
        done.append("first")
        signal.raise_signal(second)
        done.append("second")
    assert done == ["first"]


def test_an_error_after_a_signal_is_shown_as_itself():
    with pytest.raises(OSError, match="disk is full"), deferred():
        signal.raise_signal(signal.SIGINT)
        raise OSError("disk is full")


def test_the_handlers_from_before_come_back():
    with deferred():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_what_the_process_ignores_is_ignored_still():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a job that a shell runs in the background
    asked = []
    with pytest.raises(KeyboardInterrupt), deferred():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
            asked.append(is_asked())
    assert asked == [False, True, True] and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
