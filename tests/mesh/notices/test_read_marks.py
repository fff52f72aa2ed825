"""What is read stays read, and costs a bounded number of marks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grandstand.internal.v1.internal_pb2 import Reader
from grandstand.notify.v1.notify_pb2 import Mute, Preferences
from mesh.notices import bounds
from mesh.notices.read_marks import acknowledged

ACKNOWLEDGEMENTS = st.lists(
    st.tuples(st.lists(st.integers(1, 4_000), max_size=400), st.sampled_from([0, 0, 0, 5, 900, 3_000])),
    max_size=8,
)


def is_read(reader: Reader, sequence: int) -> bool:
    return sequence <= reader.read_up_to or sequence in reader.read


@given(ACKNOWLEDGEMENTS)
def test_what_was_read_stays_read_whatever_is_read_beside_it(calls: list[tuple[list[int], int]]) -> None:
    preferences = Preferences(mutes=[Mute(code="c")])
    reader, read, up_to_max = Reader(preferences=preferences), set[int](), 0
    for sequences, up_to in calls:
        read.update(sequences)
        up_to_max = max(up_to_max, up_to)
        changed = acknowledged(reader, sequences, up_to)
        assert changed is None or changed != reader
        reader = changed or reader
        assert acknowledged(reader, sequences, up_to) is None
        assert list(reader.read) == sorted(set(reader.read))
        assert len(reader.read) <= bounds.READ_MARKS_MAX
        assert reader.preferences == preferences
        assert all(is_read(reader, sequence) for sequence in read)
        assert is_read(reader, up_to_max)
    if len(read) <= bounds.READ_MARKS_MAX:  # then nothing else is
        assert {s for s in range(1, 4_001) if is_read(reader, s)} == read | set(range(1, up_to_max + 1))


def test_beyond_the_bound_the_oldest_gap_is_taken_as_read() -> None:
    reader = acknowledged(Reader(), range(10, 10 + 2 * bounds.READ_MARKS_MAX, 2))
    assert reader is not None
    assert (reader.read_up_to, len(reader.read)) == (0, bounds.READ_MARKS_MAX)
    more = acknowledged(reader, [5_000])
    assert more is not None
    assert (more.read_up_to, more.read[0], len(more.read)) == (10, 12, bounds.READ_MARKS_MAX)
