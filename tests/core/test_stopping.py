"""Signals that ask a run to stop."""

from __future__ import annotations

import signal
import threading

import pytest

from shelfmark.core.stopping import STOPPING, Stopped, StopSignals, held_back, raise_if_stopped


@pytest.mark.parametrize("number", STOPPING)
def test_a_stopping_signal_raises_where_the_program_asks_for_it_and_says_which_it_was(number: int) -> None:
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    with StopSignals() as signals:
        raise_if_stopped()
        signal.raise_signal(number)
        with pytest.raises(Stopped, match=f"stopped by {name}"):
            raise_if_stopped()
        signals.forget()
        raise_if_stopped()


def test_the_first_signal_counts_and_two_interrupts_change_nothing() -> None:
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert signals.received == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_what_came_before_an_inner_block_is_known_there() -> None:
    with StopSignals():
        signal.raise_signal(signal.SIGTERM)
        with StopSignals() as inner, pytest.raises(Stopped):
            inner.raise_if_received()


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_that_is_held_back_is_received_at_the_end_of_the_block(number: int) -> None:
    with StopSignals() as signals:
        with held_back():
            # To this thread: one that another library started takes a signal of the whole process.
            signal.pthread_kill(threading.get_ident(), number)
            assert not signals.received
        assert signals.received == number


def test_outside_of_all_blocks_nothing_stops() -> None:
    raise_if_stopped()


def test_the_exit_status_is_75_and_130_after_ctrl_c_and_0_where_an_agent_would_start_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [Stopped(number).exit_status for number in STOPPING] == [75, 75, 75, 130]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert Stopped(signal.SIGTERM).exit_status == 0
    monkeypatch.setenv("SHELFMARK_LAUNCH", "of our own launcher")
    assert Stopped(signal.SIGTERM).exit_status == 75


def test_the_handlers_of_before_are_back_afterwards() -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with StopSignals(), StopSignals():
        pass
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_what_was_ignored_before_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGHUP)
            assert not signals.received
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("kept", "told"), [("", ()), ("go on with x", ("go on with x",))])
def test_the_third_interrupt_ends_at_once_and_carries_what_is_on_the_disk(kept: str, told: tuple[str, ...]) -> None:
    with StopSignals() as signals:
        signals.kept = lambda: kept
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt) as caught:
            signal.raise_signal(signal.SIGINT)
    assert caught.value.args == told
