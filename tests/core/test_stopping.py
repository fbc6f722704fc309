"""Signals that ask a run to stop."""

from __future__ import annotations

import signal

import pytest

from shelfmark.core.stopping import STOPPING, Stopped, StopSignals


@pytest.mark.parametrize("number", STOPPING)
def test_a_stopping_signal_raises_where_it_comes_and_says_which_it_was(number: int) -> None:
    with StopSignals(), pytest.raises(Stopped, match=f"stopped by {signal.Signals(number).name}"):
        signal.raise_signal(number)


def test_the_exit_status_is_75_and_130_after_ctrl_c_and_0_in_a_process_of_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [Stopped(number).exit_status for number in STOPPING] == [75, 75, 75, 130]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert Stopped(signal.SIGTERM).exit_status == 0


def test_a_deferred_signal_is_remembered_and_raised_at_the_end() -> None:
    reached = []

    def deferred(signals: StopSignals) -> None:
        with signals.deferred():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            reached.append(signals.received)

    with StopSignals() as signals, pytest.raises(Stopped):
        deferred(signals)
    assert reached == [signal.SIGTERM]


def test_what_is_forgotten_is_not_raised() -> None:
    with StopSignals() as signals, signals.deferred():
        signal.raise_signal(signal.SIGTERM)
        signals.forget()


def test_the_handlers_of_before_are_back_afterwards() -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with StopSignals(), StopSignals():
        pass
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_a_part_within_deferred_can_be_ended_at_once() -> None:
    def at_once(signals: StopSignals) -> None:
        with signals.at_once():
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("the signal was deferred")

    with StopSignals() as signals, signals.deferred():
        with pytest.raises(Stopped):
            at_once(signals)
        signals.forget()


def test_what_was_ignored_before_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
