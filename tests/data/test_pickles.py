"""Pickles read as data: what may be in them, and what runs nothing."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shelfmark.core.errors import UserError
from shelfmark.data import pickles
from shelfmark.data.pickles import read_pickle


def read(content: bytes) -> Any:
    return read_pickle(io.BytesIO(content), "data.pkl")


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


ARRAYS = {
    "bytes": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "columns first": np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
    "a slice": np.arange(20, dtype=np.int64)[::3],
    "big-endian": np.array([1, 2, 70000], dtype=">i4"),
    "truth": np.array([True, False]),
    "half": np.array([0.5, -2.0], dtype=np.float16),
    "complex": np.array([1 + 2j]),
    "text": np.array(["a", "Käse"]),
    "empty": np.zeros((0, 7), dtype=np.float64),
    "no dimensions": np.array(3.5),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_as_they_were(name: str, protocol: int) -> None:
    array = ARRAYS[name]
    found = read(pickle.dumps(array, protocol=protocol))
    assert type(found) is np.ndarray
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    assert found.flags.writeable


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_containers_text_and_numbers_come_back_as_they_were(protocol: int) -> None:
    value = {
        "list": [1, -(2**70), 2.5, None, True, ("Käse", b"\x00\xff", b"")],
        3: {"deep": [[], {}, ()]},
        "sets": [{1, 2}, frozenset({"a"}), set()],
    }
    assert read(pickle.dumps(value, protocol=protocol)) == value
    number = read(pickle.dumps([np.float32(1.5), np.int64(-3)], protocol=protocol))
    assert number == [1.5, -3]
    assert [type(one) for one in number] == [np.float32, np.int64]


def test_what_stands_twice_is_one_object_and_a_list_may_hold_itself() -> None:
    array = np.arange(3)
    ring: list[Any] = [array, (array,)]
    ring.append(ring)
    found = read(pickle.dumps(ring))
    assert found[0] is found[1][0]
    assert found[2] is found


def test_many_references_to_few_lists_take_no_time() -> None:
    value: list[Any] = []
    for _ in range(200):
        value = [value, value]
    found = read(pickle.dumps(value))
    assert found[0] is found[1]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Calls(os.mkdir, "made"), r"(posix|nt)\.mkdir"),
        (Calls(eval, "__import__('os').mkdir('made')"), r"(builtins|__builtin__)\.eval"),
        (Calls(np.load, "made"), r"numpy.*load"),
        (collections.OrderedDict(a=1), r"collections\.OrderedDict"),
        ([os.mkdir], r"(posix|nt)\.mkdir"),
    ],
)
def test_a_pickle_that_names_a_function_is_refused_and_nothing_runs(
    value: object, named: str, protocol: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"data\.pkl names {named}, which is not data.*the file is not read"):
        read(pickle.dumps({"data": value}, protocol=protocol))
    assert not (tmp_path / "made").exists()


# Written by hand, as a hostile file would be: `c` names, `R` calls, `b` sets the state.
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
DTYPE = b"cnumpy\ndtype\n"
U1 = DTYPE + b"(X\x02\x00\x00\x00u1tR"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (RECONSTRUCT + b"(tR(K\x01(K\x05t" + U1 + b"\x89C\x03abctb.", r"shape \(5,\) and type uint8 in 3 bytes"),
        (RECONSTRUCT + b"(tR(K\x01(J\xff\xff\xff\xfft" + U1 + b"\x89C\x00tb.", r"shape \(-1,\)"),
        (RECONSTRUCT + b"(tR(K\x01(K\x01t" + U1 + b"\x89]tb.", "array of Python objects"),
        (RECONSTRUCT + b"(tR(K\x01(K\x01tX\x02\x00\x00\x00u1\x89C\x01atb.", "array of Python objects"),
        (DTYPE + b"(X\x02\x00\x00\x00O8tR.", "array of 'O8'"),
        (DTYPE + b"(X\x02\x00\x00\x00i3tR.", "i3"),
        (U1 + b"(K\x03X\x01\x00\x00\x00xtb.", "a byte order 'x'"),
        (U1 + b".", "a function or a type where data should be"),
        (DTYPE + b".", "a function or a type where data should be"),
        (DTYPE + b"}X\x08\x00\x00\x00functionNsb.", "no whole pickle"),
        (DTYPE + b"N}X\x08\x00\x00\x00functionNs\x86b.", "no whole pickle"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00hextR.", "bytes as 'hex'"),
        (b"cbuiltins\nbytes\n(I99999999\ntR.", "no whole pickle"),
        (b"}" + RECONSTRUCT + b"(tRNs.", "no whole pickle"),
        (b"(X\x01\x00\x00\x00aQ.", "no whole pickle"),
        (b"", "no whole pickle"),
        (b"not a pickle", "no whole pickle"),
    ],
)
def test_a_damaged_or_hostile_pickle_is_a_user_error(content: bytes, said: str) -> None:
    before = dict(pickles._STAND_INS)
    with pytest.raises(UserError, match=said):
        read(content)
    assert before == pickles._STAND_INS
    assert read(pickle.dumps(np.arange(3), protocol=2)).tolist() == [0, 1, 2]


def test_a_pickle_cut_anywhere_is_a_user_error() -> None:
    whole = pickle.dumps({"data": np.arange(6).reshape(2, 3), "labels": [1, 2]}, protocol=2)
    for length in range(len(whole)):
        with pytest.raises(UserError, match=r"data\.pkl"):
            read(whole[:length])


def test_a_pickle_nested_beyond_reason_is_a_user_error() -> None:
    with pytest.raises(UserError, match="beyond reason"):
        read(b"]" * 100_000 + b"a" * 99_999 + b".")


def test_the_bytes_of_an_array_that_python_2_wrote_are_those_of_the_file() -> None:
    raw = bytes(range(256))
    text = b"T" + struct.pack("<i", 256) + raw
    order = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    content = b"\x80\x02" + RECONSTRUCT + b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x10K\x10\x86"
    content += DTYPE + b"U\x02u1K\x00K\x01\x87R" + order + b"\x89" + text + b"tb."
    np.testing.assert_array_equal(read(content), np.frombuffer(raw, np.uint8).reshape(16, 16))
