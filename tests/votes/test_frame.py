"""Frames: what is encoded comes back, and nothing else is taken for a frame."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import electioncode as ec
from electioncode import core, frame, reference
from electioncode.votes.frame import HEADER_BYTES, SERVER, FrameError, decode, encode, frame_bytes

GOLDEN_D = 10


def votes_of(d: int, planes: int, seed: int = 0) -> ec.PackedSigns:
    x = np.random.default_rng(seed).integers(-1, 2, d).astype(np.float32)
    return ec.pack(x, zero="abstain" if planes == 2 else "plus")


def resigned(data: bytes | bytearray | np.ndarray) -> bytes:
    """The same frame with a checksum that fits it, as a Byzantine worker would send it."""
    words = np.frombuffer(bytes(data), dtype="<u8").copy()
    words[4] = 0
    words[4] = reference.checksum(words)
    return words.tobytes()


def patched(data: np.ndarray, offset: int, fmt: str, value: object) -> bytes:
    raw = bytearray(data.tobytes())
    struct.pack_into("<" + fmt, raw, offset, value)
    return resigned(raw)


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("d", [0, 1, 63, 64, 65, 127, 128, 1000])
def test_round_trip(d, planes):
    votes = votes_of(d, planes)
    data = encode(votes, step=2**40 + 7, sender=4094)
    assert data.dtype == np.uint8 and data.shape == (frame_bytes(d, planes),)
    assert decode(data) == votes
    back = decode(data.tobytes(), d=d, step=2**40 + 7, sender=4094)
    assert back == votes and (back.mask is None) == (planes == 1)
    assert ec.PackedSigns.from_bytes(votes.to_bytes(step=3, sender=1)) == votes


def test_layout_is_fixed():
    """Byte for byte: other languages and later versions read this."""
    bits = np.array([1, 0, 1, 1, 0, 0, 0, 0, 1, 1], dtype=bool)
    votes = ec.PackedSigns(reference.to_words(bits), GOLDEN_D)
    data = encode(votes, step=5, sender=SERVER).tobytes()
    assert data[:32] == b"ELEC" + bytes.fromhex(
        "0100 0100 0a00000000000000 0500000000000000 ffffffff 00000000"
    )
    assert data[40:] == np.packbits(bits, bitorder="little").tobytes() + bytes(6)
    words = np.frombuffer(data, dtype="<u8").copy()
    stored, words[4] = int(words[4]), 0
    assert stored == reference.checksum(words)


def test_out_is_filled_and_returned():
    votes = votes_of(100, 1)
    out = np.full(frame_bytes(100), 255, dtype=np.uint8)
    assert encode(votes, step=1, sender=2, out=out) is out
    assert out.tobytes() == encode(votes, step=1, sender=2).tobytes()
    unaligned = np.zeros(frame_bytes(100) + 1, dtype=np.uint8)[1:]
    assert encode(votes, step=1, sender=2, out=unaligned).tobytes() == out.tobytes()
    for wrong in (out[:-8], out.view(np.uint64), np.zeros(2 * out.size, np.uint8)[::2]):
        with pytest.raises(ValueError, match="out must be a writeable contiguous array of 56 uint8"):
            encode(votes, out=wrong)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out must be"):
        encode(votes, out=out)


def test_decode_makes_views_of_aligned_buffers_and_copies_of_others():
    data = encode(votes_of(200, 2))
    assert np.shares_memory(decode(data).words, data) and np.shares_memory(decode(data).mask, data)
    for shift in range(1, 8):
        memory = np.zeros(data.size + 16, dtype=np.uint8)
        start = (-memory.ctypes.data) % 8 + shift
        memory[start : start + data.size] = data
        shifted = decode(memory[start : start + data.size])
        assert shifted == decode(data) and shifted.words.flags.aligned
        assert not np.shares_memory(shifted.words, memory)


def test_decode_takes_any_contiguous_buffer_and_leaves_it_alone():
    votes = votes_of(300, 2)
    data = encode(votes)
    before = data.tobytes()
    read_only = data.copy()
    read_only.flags.writeable = False
    for buffer in (before, bytearray(before), memoryview(before), read_only, data.view(np.float64)):
        assert decode(buffer) == votes
    assert not decode(read_only).words.flags.writeable
    assert data.tobytes() == before
    with pytest.raises(FrameError, match="contiguous"):
        decode(np.repeat(data, 2)[::2])
    for nonsense in (None, 3, "ELEC", [1, 2]):
        with pytest.raises(TypeError, match="buffer protocol"):
            decode(nonsense)


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("d", [1, 64, 70])
def test_every_truncation_and_extension_is_refused(d, planes):
    data = encode(votes_of(d, planes)).tobytes()
    for size in range(len(data)):
        with pytest.raises(FrameError, match="bytes expected"):
            decode(data[:size])
    for extra in range(1, 20):
        with pytest.raises(FrameError, match="bytes expected"):
            decode(data + bytes(extra))
        with pytest.raises(FrameError):
            decode(bytes(extra) + data)


@pytest.mark.parametrize("planes", [1, 2])
def test_every_single_bit_flip_is_refused(planes):
    data = encode(votes_of(130, planes), step=9, sender=3)
    for bit in range(8 * data.size):
        wrong = data.copy()
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FrameError):
            decode(wrong)
    assert decode(data).d == 130


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 200), st.integers(1, 2), st.data())
def test_every_change_of_two_words_is_refused(d, planes, draw):
    """Swapped words too: the checksum depends on where a word is."""
    data = encode(votes_of(d, planes)).view("<u8").copy()
    i = draw.draw(st.integers(0, data.size - 1))
    j = draw.draw(st.integers(0, data.size - 1))
    wrong = data.copy()
    if draw.draw(st.booleans()):
        wrong[[i, j]] = data[[j, i]]
    else:
        wrong[i] ^= np.uint64(draw.draw(st.integers(1, 2**64 - 1)))
        wrong[j] ^= np.uint64(draw.draw(st.integers(0, 2**64 - 1)))
    if np.array_equal(wrong, data):
        return
    with pytest.raises(FrameError):
        decode(wrong)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data):
    with pytest.raises(FrameError):
        decode(data)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 130), st.integers(1, 2), st.integers(-1, 1), st.data())
def test_any_body_with_a_fitting_checksum_is_a_valid_vote_or_refused(d, planes, longer, draw):
    """A Byzantine worker signs whatever it likes; what is taken is still a valid vote."""
    size = max(0, planes * ((d + 63) // 64) + longer)
    word = st.one_of(
        st.sampled_from([0, 1, 2**64 - 1]), st.integers(0, 2**64 - 1), st.integers(0, 2 ** (d % 64))
    )
    body = np.array(draw.draw(st.lists(word, min_size=size, max_size=size)), dtype="<u8")
    data = resigned(struct.pack("<4sHHQQIIQ", b"ELEC", 1, planes, d, 0, 0, 0, 0) + body.tobytes())
    try:
        votes = decode(data)
    except FrameError:
        words, mask = body[: (d + 63) // 64], body[(d + 63) // 64 :] if planes == 2 else body * 0
        bits = [reference.to_words(reference.to_bits(w, 64 * w.size)[:d]) for w in (words, mask)]
        valid = (
            longer == 0 and np.array_equal(bits[0], words) and (planes == 1 or np.array_equal(bits[1], mask))
        )
        assert not valid or (planes == 2 and (words & ~mask).any())
        return
    assert size == planes * ((d + 63) // 64)
    bits = reference.to_bits(votes.words, d)
    assert np.array_equal(reference.to_words(bits), votes.words)  # no padding bits
    if votes.mask is not None:
        mask_bits = reference.to_bits(votes.mask, d)
        assert np.array_equal(reference.to_words(mask_bits), votes.mask) and not (bits & ~mask_bits).any()
    assert encode(votes).tobytes() == data


@pytest.mark.parametrize(
    ("offset", "fmt", "value", "says"),
    [
        (0, "4s", b"elec", "magic must be b'ELEC', got b'elec'"),
        (4, "H", 0, "version must be 1, got 0"),
        (4, "H", 2, "version must be 1, got 2"),
        (6, "H", 0, "planes must be 1 or 2, got 0"),
        (6, "H", 3, "planes must be 1 or 2, got 3"),
        (6, "H", 2, "88 bytes expected for d = 130 and 2 planes, got 64"),
        (28, "I", 1, "reserved bytes must be 0"),
        (8, "Q", 129, "d must be 130, got 129"),
        (8, "Q", 2**64 - 1, f"d must be 130, got {2**64 - 1}"),
        (16, "Q", 8, "step must be 9, got 8"),
        (24, "I", 2, "sender must be 3, got 2"),
        (24, "I", SERVER, "sender must be 3"),
    ],
)
def test_well_signed_frames_with_a_wrong_header_are_refused(offset, fmt, value, says):
    data = encode(votes_of(130, 1), step=9, sender=3)
    with pytest.raises(FrameError, match=says):
        decode(patched(data, offset, fmt, value), d=130, step=9, sender=3)


@pytest.mark.parametrize("d", [2**32, 2**61, 2**63, 2**64 - 64, 2**64 - 1])
@pytest.mark.parametrize("planes", [1, 2])
def test_a_huge_d_is_refused_by_its_size(d, planes):
    """In 64 bits, 8 * ceil(d / 64) words or the frame's size may wrap around; here they must not."""
    for real_d in (0, 1, 64, 128):
        data = patched(encode(votes_of(real_d, planes)), 8, "Q", d)
        with pytest.raises(FrameError, match=f"{frame_bytes(d, planes)} bytes expected"):
            decode(data)


def test_well_signed_frames_with_bits_where_none_may_be_are_refused():
    data = encode(votes_of(70, 1))
    for bit in (6, 7, 63):
        words = data.view("<u8").copy()
        words[-1] |= np.uint64(1 << bit)
        with pytest.raises(FrameError, match="padding bits set after coordinate 69"):
            decode(resigned(words))
    masked = encode(votes_of(70, 2))
    words = masked.view("<u8").copy()
    words[-1] |= np.uint64(1 << 6)
    with pytest.raises(FrameError, match="padding"):
        decode(resigned(words))
    words = masked.view("<u8").copy()
    words[5] = ~words[7]
    with pytest.raises(FrameError, match="votes set where the mask"):
        decode(resigned(words))


def test_encode_refuses_what_nobody_would_take():
    with pytest.raises(ValueError, match=r"shape \(d,\), got \(2, 5\)"):
        encode(ec.pack(np.ones((2, 5))))
    with pytest.raises(ValueError, match="padding bits"):
        encode(ec.PackedSigns(np.array([~np.uint64(0)]), 5))
    with pytest.raises(ValueError, match="mask"):
        encode(ec.PackedSigns(np.array([3], np.uint64), 5, np.array([1], np.uint64)))
    with pytest.raises(TypeError, match="PackedSigns"):
        encode(np.ones(5))
    votes = votes_of(5, 1)
    for wrong in ({"step": -1}, {"step": 2**64}, {"sender": -1}, {"sender": 2**32}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be from 0 to"):
            encode(votes, **wrong)
    assert frame_bytes(0) == HEADER_BYTES == 40
    for d, planes in ((-1, 1), (5, 0), (5, 3)):
        with pytest.raises(ValueError, match="frame_bytes"):
            frame_bytes(d, planes)


def test_torch_votes_give_the_same_frame():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(1).standard_normal(99).astype(np.float32)
    assert encode(ec.pack(torch.from_numpy(x))).tobytes() == encode(ec.pack(x)).tobytes()


def test_native_checksum_equals_the_reference(rng):
    for size in (0, 1, 2, 3, 4, 5, 63, 64, 1000, 100_003):
        words = rng.integers(0, 2**64, size, dtype=np.uint64)
        assert core.checksum(words) == reference.checksum(words)


@given(st.integers(0, 700), st.integers(1, 9), st.booleans())
def test_parts_cover_all_coordinates_and_join_to_the_whole(d, parts, masked):
    x = np.random.default_rng(d).integers(-1, 2, d).astype(np.float32)
    votes = ec.pack(x, zero="abstain" if masked else "plus")
    whole = frame.encode(votes, step=7, sender=3)
    pieces = frame.split(whole, parts)
    first = 0
    for index, piece in enumerate(pieces):
        word, coordinates = frame.part(d, index, parts)
        assert word == first // 64
        assert first % 64 == 0 or not coordinates
        held = frame.decode(piece, d=coordinates, step=7, sender=3)
        np.testing.assert_array_equal(held.unpack(), votes.unpack()[first : first + coordinates])
        first += coordinates
    assert first == d
    assert frame.join(pieces).tobytes() == whole.tobytes()


def test_only_frames_are_cut_and_joined():
    good = frame.encode(ec.pack(np.ones(200)))
    with pytest.raises(frame.FrameError):
        frame.split(good[:-8], 2)
    with pytest.raises(frame.FrameError):
        frame.join([good, good[:-1]])
    masked = frame.encode(ec.pack(np.ones(64), zero="abstain"))
    with pytest.raises(frame.FrameError, match="all parts must have a mask, or none"):
        frame.join([masked, frame.encode(ec.pack(np.ones(64)))])
