"""Frames: cut as they come, with the same answer however they come."""

from itertools import pairwise

import pytest
from hyperframe.frame import DataFrame, Frame, HeadersFrame, SettingsFrame
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.http2 import frames
from gateway.wire.http2.codes import DATA, HEADERS, MAX_FRAME, PREFACE, ConnectionFault, ErrorCode


def read(reader: frames.FrameReader, *pieces: bytes) -> list[frames.Frame]:
    return [frame for piece in pieces for frame in reader.feed(piece)]


FRAME = st.builds(
    frames.frame,
    st.integers(0, 20),
    st.integers(0, 255),
    st.integers(0, 2**31 - 1),
    st.binary(max_size=40),
)


@given(st.lists(FRAME, max_size=6), st.lists(st.integers(0, 400), max_size=8), st.booleans())
def test_how_frames_are_cut_into_segments_changes_nothing(written: list[bytes], cuts: list[int], preface: bool) -> None:
    whole = (PREFACE if preface else b"") + b"".join(written)
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = [whole[start:end] for start, end in pairwise(places)]
    assert read(frames.FrameReader(preface), *pieces) == read(frames.FrameReader(preface), whole)
    assert len(read(frames.FrameReader(preface), whole)) == len(written)


@given(st.integers(1, 2**31 - 1), st.binary(max_size=50), st.booleans(), st.integers(0, 30))
def test_we_read_what_another_library_writes(stream: int, data: bytes, ends: bool, padding: int) -> None:
    theirs = DataFrame(stream, data=data, pad_length=padding, flags=["PADDED"] + ["END_STREAM"] * ends)
    [frame] = read(frames.FrameReader(False), theirs.serialize())
    assert (frame.kind, frame.stream, frame.ends_stream) == (DATA, stream, ends)
    assert frames.content_of(frame) == data


@given(st.integers(1, 2**31 - 1), st.binary(max_size=40_000), st.booleans())
def test_another_library_reads_the_heads_that_we_write(stream: int, block: bytes, ends: bool) -> None:
    written = frames.header_frames(stream, block, ends)
    got = b""
    while written:
        frame, length = Frame.parse_frame_header(memoryview(written[:9]))
        assert length <= MAX_FRAME
        frame.parse_body(memoryview(written[9 : 9 + length]))
        got += frame.data  # type: ignore[attr-defined]  # those of heads have it
        written = written[9 + length :]
        assert ("END_HEADERS" in frame.flags) is (not written)
    assert got == block


def test_settings_are_read_in_their_order() -> None:
    [frame] = read(frames.FrameReader(False), SettingsFrame(0, settings={1: 5, 4: 7}).serialize())
    assert frames.settings_of(frame) == [(1, 5), (4, 7)]


@pytest.mark.parametrize("opening", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/1.1", b"\x00" * 9])
def test_what_is_no_preface_is_refused_at_its_first_wrong_byte(opening: bytes) -> None:
    with pytest.raises(ConnectionFault) as fault:
        read(frames.FrameReader(True), opening)
    assert fault.value.code is ErrorCode.PROTOCOL_ERROR


def test_a_frame_that_is_too_large_is_refused_before_its_payload() -> None:
    with pytest.raises(ConnectionFault) as fault:
        read(frames.FrameReader(False), frames.frame(DATA, 0, 1, bytes(MAX_FRAME + 1))[:9])
    assert fault.value.code is ErrorCode.FRAME_SIZE_ERROR


def test_priority_and_padding_are_taken_off_a_head() -> None:
    theirs = HeadersFrame(3, data=b"block", pad_length=4, flags=["PADDED", "PRIORITY", "END_HEADERS"])
    [frame] = read(frames.FrameReader(False), theirs.serialize())
    assert (frame.kind, frames.content_of(frame), frame.ends_headers) == (HEADERS, b"block", True)
