"""I2: an origin's number is admitted once, whatever the order and however often it comes."""

from hypothesis import given
from hypothesis import strategies as st

from aggregate.window import ReplayWindow
from grandstand.wire import bounds as wire_bounds

WIDTH = wire_bounds.VIEWER_WINDOW


def test_a_number_is_admitted_the_first_time_and_never_again() -> None:
    window = ReplayWindow(WIDTH)
    assert [window.admit(n) for n in (1, 2, 2, 1, 3)] == [True, True, False, False, True]


def test_a_number_behind_the_window_is_taken_as_a_replay() -> None:
    window = ReplayWindow(WIDTH)
    assert window.admit(WIDTH + 1)
    assert not window.admit(1)
    assert window.admit(2)


@given(st.lists(st.integers(1, 3 * WIDTH), max_size=300))
def test_it_agrees_with_a_set_of_all_numbers_seen(numbers: list[int]) -> None:
    window, seen, highest = ReplayWindow(WIDTH), set[int](), 0
    for number in numbers:
        inside = number > highest - WIDTH
        assert window.admit(number) == (inside and number not in seen)
        seen.add(number)
        highest = max(highest, number)


@given(st.data())
def test_what_credit_allows_is_never_lost_nor_doubled(data: st.DataObject) -> None:
    """Numbers sent in order, at most WIDTH unacked, each stored once or more in any order."""
    window = ReplayWindow(WIDTH)
    admitted: list[int] = []
    unacked: list[int] = []
    sent = 0
    for _ in range(data.draw(st.integers(1, 200))):
        if (
            len(unacked) < WIDTH
            and (not unacked or sent + 1 - unacked[0] < WIDTH)
            and data.draw(st.booleans())
        ):
            sent += 1
            unacked.append(sent)
        elif unacked:
            number = data.draw(st.sampled_from(unacked))
            if window.admit(number):
                admitted.append(number)
            if data.draw(st.booleans()):  # else the ack is lost and it will be stored again
                unacked.remove(number)
    admitted += [number for number in unacked if window.admit(number)]
    assert sorted(admitted) == list(range(1, sent + 1))


@given(st.lists(st.integers(1, 500)), st.lists(st.integers(1, 500)))
def test_a_stored_window_goes_on_where_it_was(before: list[int], after: list[int]) -> None:
    window = ReplayWindow(WIDTH)
    for number in before:
        window.admit(number)
    again = ReplayWindow(WIDTH, window.highest, window.seen)
    assert [again.admit(n) for n in after] == [window.admit(n) for n in after]
