"""grpc-status-details-bin: what clients read of it, and how long trailers may become."""

from __future__ import annotations

import base64
import math

import hpack
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import example, given
from hypothesis import strategies as st

from mesh.http2 import bounds, headers


def read(block: bytes) -> dict[str, str]:
    fields = hpack.Decoder(max_header_list_size=bounds.TRAILERS_BYTES_MAX).decode(block)
    return {str(name): str(value) for name, value in fields}


def status_of(fields: dict[str, str]) -> tuple[Status, float]:
    value = fields["grpc-status-details-bin"]
    assert "=" not in value
    status = Status.FromString(base64.b64decode(value + "=" * (-len(value) % 4), validate=True))
    assert len(status.details) == 1
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    return status, info.retry_delay.ToNanoseconds() / 1e9


@given(code=st.integers(1, 16), text=st.text(max_size=400), delay_s=st.floats(0.0, bounds.RETRY_AFTER_S_MAX))
@example(code=8, text="a lone \ud800 surrogate", delay_s=1.5)
def test_a_retry_delay_travels_with_the_status_it_belongs_to(code: int, text: str, delay_s: float) -> None:
    fields = read(headers.trailers(code, text, delay_s))
    status, told_s = status_of(fields)
    assert fields["grpc-status"] == str(code)
    assert status.code == code
    assert status.message == text.encode(errors="replace").decode()
    assert told_s == pytest.approx(delay_s, abs=1e-9)


@given(character=st.characters(exclude_categories=["Cs"]), size=st.integers(1, 12_000))
@example(character="\0", size=12_000)
@example(character="\U0001f600", size=683)
@example(character="x", size=12_000)
def test_trailers_of_any_text_are_short_enough_for_every_client(character: str, size: int) -> None:
    """The decoder refuses longer lists, as clients do."""
    text = character * size
    response = headers.RESPONSE_HEADERS + headers.trailers(8, text, bounds.RETRY_AFTER_S_MAX / 7)
    status, _ = status_of(read(response))
    assert text.startswith(status.message.removesuffix("…"))
    assert len(status.message.encode()) >= min(len(text.encode()), bounds.DETAILS_MESSAGE_BYTES_MAX - 3)


@pytest.mark.parametrize(
    ("delay_s", "told_s"),
    [
        (-1.0, 0.0),
        (math.nan, 0.0),
        (math.inf, bounds.RETRY_AFTER_S_MAX),
        (1e300, bounds.RETRY_AFTER_S_MAX),
        (0, 0.0),
    ],
)
def test_a_delay_that_is_none_is_brought_within_its_bounds(delay_s: float, told_s: float) -> None:
    assert status_of(read(headers.trailers(14, "later", delay_s)))[1] == told_s


def test_without_a_delay_there_are_no_details() -> None:
    assert list(read(headers.trailers(8, "full"))) == ["grpc-status", "grpc-message"]
