from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from standardwebhooks import Webhook

from resume_daemon.demo.home import zero_second_half
from resume_daemon.demo.ledger_view import LedgerView
from resume_daemon.demo.outcome import (
    EXPECTED,
    REWRITTEN,
    Alerts,
    chain_difference,
    differences,
    is_settled,
)
from resume_daemon.demo.processes import SECRET_VARIABLE, child_environment
from resume_daemon.demo.receiver import Receiver
from resume_daemon.demo.scenario import play
from resume_daemon.errors import UsageError
from resume_daemon.ledger.ledger import Ledger

if TYPE_CHECKING:
    from pathlib import Path

Kind = tuple[str, dict[str, Any]]


def done() -> list[Kind]:
    """Return the records of a daemon that saw everything."""
    verdicts: list[Kind] = [
        ("verdict", {"checkpoint": name, "verdict": verdict, "step": int(name[11:])})
        for name, verdict in EXPECTED.items()
    ]
    snapshots: list[Kind] = [
        ("snapshot", {"checkpoint": name, "files": {}})
        for name, verdict in EXPECTED.items()
        if verdict != "incomplete"
    ]
    drift = {"condition": "wandb-drift:demo:s", "state": "firing", "code": "RD601", "drift": 20}
    return [*verdicts, *snapshots, ("drift", drift), ("alert", {"outcome": "delivered"})]


def view_of(path: Path, records: list[Kind]) -> LedgerView:
    with Ledger.open(path, "demo") as ledger:
        ledger.append_many(records)
    view = LedgerView(path)
    view.update()
    return view


ALERTS = Alerts(delivered=1, arrived=1, refused=0)


def test_what_was_done_and_recorded_leaves_nothing_to_say(tmp_path: Path) -> None:
    failed: Kind = ("alert", {"outcome": "failed"})
    view = view_of(tmp_path / "ledger.jsonl", [*done(), failed])
    assert list(differences(view.state, ALERTS)) == []
    assert chain_difference(view.verify()) is None
    assert view.delivered == 1


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("verdict", {"checkpoint": "checkpoint-30", "verdict": "sound"}, "should be unsound"),
        ("verdict", {"checkpoint": "checkpoint-25", "verdict": "sound"}, "should be incomplete"),
        ("verdict", {"checkpoint": "checkpoint-5", "verdict": "degraded"}, "should be sound"),
        ("verdict", {"checkpoint": "checkpoint-7", "verdict": "sound"}, "nobody wrote"),
        ("drift", {"condition": "wandb-drift:demo:s", "state": "resolved"}, "one W&B drift"),
        ("drift", {"condition": "wandb-drift:demo:t", "state": "firing", "drift": 2}, "one W&B"),
        ("drift", {"condition": "wandb-drift:demo:s", "state": "firing"}, "no number"),
    ],
)
def test_whatever_differs_is_said(
    tmp_path: Path, kind: str, fields: dict[str, Any], said: str
) -> None:
    view = view_of(tmp_path / "ledger.jsonl", [*done(), (kind, fields)])
    assert said in " ".join(differences(view.state, ALERTS))


@pytest.mark.parametrize("number", range(len(done()) - 1))
def test_whatever_is_missing_is_said(tmp_path: Path, number: int) -> None:
    records = done()
    del records[number]
    assert list(differences(view_of(tmp_path / "ledger.jsonl", records).state, ALERTS))


@pytest.mark.parametrize(
    "alerts", [Alerts(1, 0, 0), Alerts(1, 2, 0), Alerts(1, 1, 1), Alerts(0, 0, 0)]
)
def test_alerts_that_did_not_all_arrive_are_said(tmp_path: Path, alerts: Alerts) -> None:
    view = view_of(tmp_path / "ledger.jsonl", done())
    assert "alert" in " ".join(differences(view.state, alerts))


def test_a_ledger_that_was_edited_is_said(tmp_path: Path) -> None:
    view = view_of(tmp_path / "ledger.jsonl", done())
    lines = (tmp_path / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "ledger.jsonl").write_bytes(b"".join(lines[:3] + lines[4:]))
    assert "line 4" in str(chain_difference(view.verify()))


def test_the_end_waits_for_the_verdict_on_what_was_written_over(tmp_path: Path) -> None:
    view = view_of(tmp_path / "ledger.jsonl", done())
    at = view.state.checkpoints[REWRITTEN].at
    assert is_settled(view.state, ALERTS, at - timedelta(seconds=1))
    assert not is_settled(view.state, ALERTS, at + timedelta(seconds=1))


def test_a_ledger_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    view = LedgerView(tmp_path / "ledger.jsonl")
    view.update()
    assert view.state.seq == 0


def test_only_alerts_with_a_right_signature_are_counted_and_each_once() -> None:
    with Receiver() as receiver, httpx.Client(trust_env=False) as client:

        def post(secret: str) -> int:
            moment = datetime.now(UTC)
            headers = {
                "webhook-id": "1",
                "webhook-timestamp": str(int(moment.timestamp())),
                "webhook-signature": Webhook(secret).sign("1", moment, "{}"),
            }
            return client.post(receiver.url, content=b"{}", headers=headers).status_code

        assert [post(receiver.secret), post(receiver.secret)] == [204, 204]
        assert post("whsec_" + "A" * 44) == 401
        assert client.post(receiver.url, content=b"{}").status_code == 401
        assert (receiver.arrived, receiver.refused) == ({"1"}, 2)


def test_the_users_own_tracker_account_is_kept_out_of_the_demo(tmp_path: Path) -> None:
    mine = {"WANDB_API_KEY": "k", "WANDB_MODE": "online", "NOTIFY_SOCKET": "@s", "PATH": "/bin"}
    found = child_environment(mine, tmp_path, "whsec_x")
    assert found["PATH"] == "/bin"
    assert found[SECRET_VARIABLE] == "whsec_x"
    assert not {"WANDB_API_KEY", "WANDB_MODE", "NOTIFY_SOCKET"} & found.keys()


def test_zeros_begin_at_a_page_and_reach_the_end(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"x" * 20_001)
    zero_second_half(path)
    assert path.read_bytes() == b"x" * 8192 + bytes(20_001 - 8192)


def test_a_directory_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        play(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
