"""The ledger with made-up decoders: late, silent, and confused ones."""

from __future__ import annotations

from dataclasses import dataclass

import av
import pytest

from posecli.video.container import h264_picture_type, is_hidden_vp8, is_hidden_vp9
from posecli.video.ledger import OrderLedger, Row, TimestampLedger


@dataclass
class _Interlaced:
    """All a ledger looks at; PyAV lets nobody set the flag on a real frame."""

    pts: int | None = None
    interlaced_frame: bool = True


def _picture() -> av.VideoFrame:
    return av.VideoFrame(16, 16, "gray")


def _feed(ledger, sent, decoded_after):
    """Send packets (number, pts); ``decoded_after[number]`` lists the numbers that come out then."""
    rows: list[Row] = []
    for number, pts in sent:
        ledger.sent(number, pts)
        for done in decoded_after.get(number, []):
            ledger.decoded(done, _picture())
        rows += ledger.ready()
    rows += ledger.finish()
    return [(row.pts, row.picture is not None) for row in rows]


def test_b_frames_come_in_display_order():
    sent = [(0, 0), (1, 30), (2, 10), (3, 20), (4, 40)]
    rows = _feed(TimestampLedger(), sent, {2: [0], 3: [2], 4: [3, 1, 4]})
    assert rows == [(0, True), (10, True), (20, True), (30, True), (40, True)]


def test_a_silent_packet_gives_an_empty_row_in_its_place():
    sent = [(k, 10 * k) for k in range(8)]
    rows = _feed(TimestampLedger(), sent, {k: [k] for k in range(8) if k != 3})
    assert rows == [(10 * k, k != 3) for k in range(8)]


def test_a_decoder_that_swaps_its_first_pictures_is_waited_for():
    sent = [(0, 0), (1, 20), (2, 10), (3, 30)]
    rows = _feed(TimestampLedger(), sent, {1: [0, 1], 2: [2], 3: [3]})
    assert [pts for pts, _ in rows] in ([0, 20, 10, 30], [0, 10, 20, 30])
    assert all(found for _, found in rows)


def test_timestamps_that_jump_back_come_after():
    sent = [(k, 100 + 10 * k) for k in range(4)] + [(4 + k, 10 * k) for k in range(4)]
    rows = _feed(TimestampLedger(), sent, {k: [k] for k in range(8)})
    assert [pts for pts, _ in rows] == [100, 110, 120, 130, 0, 10, 20, 30]


def test_repeated_timestamps_keep_the_order_of_the_file():
    ledger = TimestampLedger()
    rows = _feed(ledger, [(0, 0), (1, 5), (2, 5), (3, 5)], {k: [k] for k in range(4)})
    assert rows == [(0, True), (5, True), (5, True), (5, True)]
    assert ledger.num_extra == 0


def test_a_picture_without_a_number_is_matched_by_time():
    ledger = TimestampLedger()
    ledger.sent(0, 0)
    ledger.sent(1, 7)
    late = _picture()
    late.pts = 7
    ledger.decoded(None, late)
    assert ledger.missing() == {0}


def test_pictures_beyond_one_a_packet_are_counted():
    ledger = TimestampLedger()
    ledger.sent(0, 0)
    ledger.decoded(0, _picture())
    ledger.decoded(0, _picture())
    assert ledger.num_extra == 1
    assert len(list(ledger.finish())) == 1


@pytest.mark.parametrize(("saw_error", "num_rows"), [(False, 4), (True, 8)])
def test_the_second_field_of_an_interlaced_picture_is_no_frame(saw_error, num_rows):
    ledger = TimestampLedger()
    ledger.saw_error = saw_error
    rows: list[Row] = []
    for number in range(8):
        ledger.sent(number, number)
        if number % 2:
            ledger.decoded(number - 1, _Interlaced())  # type: ignore[arg-type]
        rows += ledger.ready()
    assert len(rows + list(ledger.finish())) == num_rows


def test_without_timestamps_the_decoder_says_the_order():
    rows = _feed(OrderLedger(), [(k, None) for k in range(5)], {2: [0, 2], 4: [1, 3]})
    assert rows == [(None, True)] * 4 + [(None, False)]


def test_timestamps_of_decoding_order_are_given_out_sorted():
    rows = _feed(OrderLedger(), [(0, 1), (1, 3), (2, 2)], {1: [0], 2: [2, 1]})
    assert rows == [(1, True), (2, True), (3, True)]


def test_without_reordering_a_lost_picture_is_placed_exactly():
    rows = _feed(OrderLedger(reorder=0), [(k, None) for k in range(6)], {k: [k] for k in range(6) if k != 2})
    assert [found for _, found in rows] == [True, True, False, True, True, True]


@pytest.mark.parametrize(
    ("data", "length_size", "kind"),
    [
        (b"\x00\x00\x00\x01\x67abc\x00\x00\x01\x65xyz", None, 5),
        (b"\x00\x00\x00\x01\x06sei\x00\x00\x01\x41xyz", None, 1),
        (b"\x00\x00\x00\x02\x67a\x00\x00\x00\x03\x65xy", 4, 5),
        (b"\x00\x02\x09a\x00\x03\x61xy", 2, 1),
        (b"\x00\x00\x00\x02\x67a", 4, None),
        (b"", None, None),
        (b"\x00\x00\x01", None, None),
    ],
)
def test_h264_picture_types(data, length_size, kind):
    assert h264_picture_type(data, length_size) == kind


def test_hidden_vpx_packets():
    assert [is_hidden_vp8(b) for b in (0b0001_0000, 0b0000_0000)] == [False, True]
    assert is_hidden_vp9(0b1000_0010, 0) is False  # show_frame
    assert is_hidden_vp9(0b1000_0000, 0) is True
    assert is_hidden_vp9(0b1000_1000, 0) is False  # show_existing_frame
    assert is_hidden_vp9(0b1000_0000, 0b1100_0001) is False  # superframe
    assert is_hidden_vp9(0b1011_0001, 0) is False  # profile 3
    assert is_hidden_vp9(0b1011_0000, 0) is True
