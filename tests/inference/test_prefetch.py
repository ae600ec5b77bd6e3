"""Threads beside the one that waits: order, errors, bounds, and that none is left behind."""

import signal
import threading
import time

import pytest

from geosr.inference.prefetch import prefetch, write_behind


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("geosr-")]


def wait_until(condition):
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.001)


def test_items_come_in_order_from_another_thread():
    made_by = []

    def items():
        for i in range(20):
            made_by.append(threading.current_thread().name)
            yield i

    with prefetch(items()) as found:
        assert list(found) == list(range(20))
    assert set(made_by) == {"geosr-prefetch"} and not threads()


def test_no_more_is_made_ahead_than_asked():
    made = []

    def items():
        for i in range(50):
            made.append(i)
            yield i

    with prefetch(items(), depth=2) as found:
        assert next(found) == 0
        wait_until(lambda: len(made) == 3)  # the one taken, two that wait
        time.sleep(0.05)
        assert len(made) == 3
    assert not threads()


def test_what_making_raises_comes_after_the_items_before():
    def items():
        yield 1
        raise ValueError("no second")

    seen = []
    with pytest.raises(ValueError, match="no second"), prefetch(items()) as found:
        seen.extend(found)
        raise AssertionError
    assert seen == [1] and not threads()
    with prefetch(items()) as found:
        assert next(found) == 1
        with pytest.raises(ValueError, match="no second"):
            next(found)


def test_a_block_that_ends_early_ends_the_maker():
    with pytest.raises(KeyboardInterrupt), prefetch(iter(range(10**9))) as found:
        next(found)
        raise KeyboardInterrupt
    assert not threads()


def test_items_are_used_in_order_in_another_thread_before_the_block_ends():
    used = []
    with write_behind(lambda item: used.append((item, threading.current_thread().name))) as use:
        for i in range(20):
            use(i)
    assert used == [(i, "geosr-write-behind") for i in range(20)] and not threads()


def test_what_use_raises_is_raised_and_the_rest_dropped():
    used = []

    def fail(item):
        used.append(item)
        raise OSError("full")

    with pytest.raises(OSError, match="full"), write_behind(fail) as use:
        for i in range(50):
            use(i)
    assert used == [0] and not threads()
    with pytest.raises(OSError, match="full"), write_behind(fail) as use:  # by the last item
        use(1)
    assert used == [0, 1] and not threads()


def test_a_block_that_fails_drops_what_waits():
    started, go, used = threading.Event(), threading.Event(), []

    def slow(item):
        started.set()
        go.wait(10)
        used.append(item)

    with pytest.raises(SystemExit), write_behind(slow, depth=2) as use:
        use(0)
        started.wait(10)
        use(1)
        threading.Timer(0.05, go.set).start()
        raise SystemExit
    assert used == [0] and not threads()


class _SignalError(BaseException):
    pass


def end(*_: object) -> None:
    raise _SignalError


@pytest.mark.parametrize("maker", [False, True])
def test_a_signal_while_the_end_is_waited_for_waits_for_the_item_in_hand(maker):
    started, done = threading.Event(), []

    def slow(item):
        started.set()
        time.sleep(0.3)
        done.append(item)
        return item

    before = signal.signal(signal.SIGALRM, end)
    try:
        with pytest.raises(_SignalError):
            if maker:
                with prefetch(map(slow, range(2)), depth=2) as found:
                    assert started.wait(10) and found
                    signal.setitimer(signal.ITIMER_REAL, 0.1)
            else:
                with write_behind(slow) as use:
                    use(0)
                    assert started.wait(10)
                    signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert done == [0] and not threads()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
