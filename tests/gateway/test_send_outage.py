"""When sends are refused at once, and with which reason."""

from __future__ import annotations

from gateway.send_outage import HELD_MAX_S, SILENT_S, SendOutage

PATIENCE_S = 7.0


def test_a_short_outage_is_waited_out_and_a_long_one_is_told_at_once() -> None:
    outage = SendOutage()
    outage.held("the event log does not answer", 10.0)
    outage.held("the event log does not answer: disk full", 12.0)
    assert outage.refusal(10.0 + HELD_MAX_S - 0.1) == ""
    assert outage.refusal(10.0 + HELD_MAX_S) == "the event log does not answer: disk full"
    outage.flows()
    assert outage.refusal(100.0) == ""
    outage.held("again", 100.0)
    assert outage.refusal(100.1) == "", "each outage has its own time"


def test_the_repetition_of_a_call_that_nobody_answered_is_refused_and_nothing_later() -> None:
    outage = SendOutage()
    outage.expired(PATIENCE_S, 20.0)
    assert outage.refusal(20.1) == "ingest has answered nothing for 7 s"
    assert outage.refusal(20.0 + SILENT_S) == "", (
        "who is refused proves nothing: the next one may be answered"
    )


def test_one_event_without_an_answer_refuses_nobody_while_others_are_answered() -> None:
    outage = SendOutage()
    outage.answered(15.0)
    outage.expired(PATIENCE_S, 20.0)
    assert outage.refusal(20.0) == ""
    outage.expired(PATIENCE_S, 30.0)
    outage.answered(30.1)
    assert outage.refusal(30.2) == ""
