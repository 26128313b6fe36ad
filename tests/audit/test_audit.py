"""The audit finds each fault where there is one, and nothing where there is none."""

from __future__ import annotations

import dataclasses
import random
import re
import unicodedata
from typing import Any

import pandas as pd
import pytest

import imlib
from imlib.audit import CHECKS, Finding, Findings, audit
from imlib.presence import Malformed
from imlib.sample import NOW, PLANTED
from imlib.snapshot import Snapshot
from tests.audit.worlds import PRESENCE_CASES, TABLE_CASES, dialogs, fleet, names, off
from tests.snapshot.frames import session, snapshot, table

BIG = 2**53 + 1


def boxes(*rows: tuple[int, ...]) -> pd.DataFrame:
    """Return message_boxes: user 7's with user 8, who sent those of type 0."""
    frame = table("id user_id pts message_id message_box_type peer_type peer_id", *rows)
    return frame.assign(sender_user_id=8 - frame["message_box_type"])


def dialog(top_message: int, unread: int, read: int = 0) -> pd.DataFrame:
    """Return user 7's dialog with user 8."""
    columns = "id user_id peer_type peer_id top_message unread_count read_inbox_max_id"
    return table(columns, (1, 7, 2, 8, top_message, unread, read))


def messages(*rows: tuple[int, int, int]) -> pd.DataFrame:
    """Return messages of id, sender and random_id."""
    return pd.DataFrame(list(rows), columns=["id", "sender_user_id", "random_id"]).astype("int64")


def keys(
    users: list[int], auth_keys: list[int], table_of_keys: str = "auth_keys"
) -> dict[str, pd.DataFrame]:
    """Return the tables that know these users and auth keys, the keys in one of the three."""
    tables = {name: pd.DataFrame({"auth_id": [0]}) for name in ("auth_keys", "auth_users", "auths")}
    return tables | {
        table_of_keys: pd.DataFrame({"auth_id": auth_keys}),
        "users": table("id", *[(n,) for n in users]),
    }


def chats(participants: list[tuple[int, int]]) -> dict[str, pd.DataFrame]:
    """Return chat 1, users 7 and 8, and who is in which chat."""
    rows = [(at, *one) for at, one in enumerate(participants)]
    return {
        "chats": table("id", (1,)),
        "users": table("id", (7,), (8,)),
        "chat_users": table("id chat_id user_id", *rows),
    }


BODIES = messages((10, 7, 1), (11, 7, 2)).assign(message_data="masked:0")
TWO_BOXES = boxes((1, 7, 1, 10, 0, 2, 8), (2, 7, 2, 11, 1, 2, 8))

# check, a world with the fault, its subjects, a world without
CASES: list[tuple[str, Snapshot, list[str], Snapshot]] = [
    ("ghost", snapshot([session(age=17)]), ["online_7 -42_1"], snapshot([session(age=16)])),
    (
        "ghost",
        snapshot([session(9, age=40, layout="deployed"), session(10, -(2**63), 2**63 - 1, age=18)]),
        ["online_9 -42@1", f"online_10 {-(2**63)}_{2**63 - 1}"],
        snapshot(),
    ),
    (
        "key_without_ttl",
        snapshot(malformed=[Malformed(b"online_9", b"x", b"y", "no field")], never_expire=[9]),
        ["online_9"],
        snapshot(malformed=[Malformed(b"online_9", b"x", b"y", "no field")], never_expire=[]),
    ),
    (
        "key_without_ttl",
        snapshot([session(key_ttl_s=float("nan")), session(session_id=2, key_ttl_s=float("nan"))]),
        ["online_7"],
        snapshot([session(key_ttl_s=0.0)]),
    ),
    (
        "malformed",
        snapshot(
            malformed=[
                Malformed(b"online_bob", None, None, "no id"),
                Malformed(b"online_7", b"'x\xff", b"y", "odd"),
            ]
        ),
        [r"online_7 'x\xff", "online_bob"],
        snapshot([session()]),
    ),
    ("malformed", snapshot(malformed_not_kept=3), ["more"], snapshot(malformed_not_kept=0)),
    (
        "mixed_layouts",
        snapshot([session(), session(session_id=2, layout="deployed"), session(8)]),
        ["all servers"],
        snapshot([session(), session(8, layout="deployed")]),
    ),
    (
        "future_session",
        snapshot([session(age=-2.5)]),
        ["online_7 -42_1"],
        snapshot([session(age=-2)]),
    ),
    (
        "orphan_session",
        snapshot([session(), session(8)], keys([7], [-42])),
        ["online_8 -42_1"],
        snapshot([session()], keys([7], [-42], "auths")),
    ),
    (
        "orphan_session",
        snapshot([session(auth_key_id=BIG)], keys([7], [BIG - 1])),
        [f"online_7 {BIG}_1"],
        snapshot([session(auth_key_id=BIG)], keys([7], [BIG], "auth_users")),
    ),
    (
        "pts_gap",
        snapshot(
            tables={
                "message_boxes": boxes(
                    (1, 7, 1, 1, 0, 2, 8), (2, 7, 3, 2, 0, 2, 8), (3, 7, 6, 3, 0, 2, 8)
                )
            }
        ),
        ["user 7 pts 2", "user 7 pts 4 to 5"],
        snapshot(
            tables={
                "message_boxes": boxes(
                    (1, 7, 5, 1, 0, 2, 8), (2, 7, 6, 2, 0, 2, 8), (3, 8, 9, 3, 0, 2, 7)
                )
            }
        ),
    ),
    (
        "pts_duplicate",
        snapshot(tables={"message_boxes": boxes((1, 7, 1, 1, 0, 2, 8), (2, 7, 1, 2, 0, 2, 8))}),
        ["user 7 pts 1"],
        snapshot(tables={"message_boxes": boxes((1, 7, 1, 1, 0, 2, 8), (2, 8, 1, 2, 0, 2, 8))}),
    ),
    (
        "sequence_behind",
        snapshot(sequences=({"7": 5}, {"7": 6}, {"7": 5})),
        ["7"],
        snapshot(sequences=({"7": 5}, {"7": 6}, {"7": 6})),
    ),
    (
        "sequence_ahead",
        snapshot(sequences=({"7": BIG, "8": 1}, {"7": BIG - 1}, {"7": BIG, "8": 1})),
        ["7", "8"],
        snapshot(sequences=({"7": 6}, {"7": 6}, {"7": 9, "8": 1})),
    ),
    (
        "dialog_disagrees",
        snapshot(tables={"user_dialogs": dialog(10, 1), "message_boxes": TWO_BOXES}),
        ["user 7 peer user 8"],
        snapshot(tables={"user_dialogs": dialog(11, 1), "message_boxes": TWO_BOXES}),
    ),
    (
        "dialog_disagrees",
        snapshot(tables={"user_dialogs": dialog(11, 1, read=10), "message_boxes": TWO_BOXES}),
        ["user 7 peer user 8"],
        snapshot(tables={"user_dialogs": dialog(11, 0, read=10), "message_boxes": TWO_BOXES}),
    ),
    (
        "dialog_disagrees",
        snapshot(tables={"user_dialogs": dialog(11, 0), "message_boxes": boxes()}),
        ["user 7 peer user 8"],
        snapshot(tables={"user_dialogs": dialog(0, 0), "message_boxes": boxes()}),
    ),
    (
        "orphan_box",
        snapshot(tables={"message_boxes": TWO_BOXES, "messages": messages((10, 7, 1))}),
        ["user 7 message 11"],
        snapshot(tables={"message_boxes": TWO_BOXES, "messages": messages((10, 7, 1), (11, 7, 2))}),
    ),
    (
        "orphan_participant",
        snapshot(tables=chats([(1, 7), (1, 9), (77, 8)])),
        ["user 8 chat 77", "user 9 chat 1"],
        snapshot(tables=chats([(1, 7), (1, 8)])),
    ),
    (
        "duplicate_random_id",
        snapshot(tables={"messages": messages((1, 7, BIG), (2, 7, BIG), (3, 7, BIG - 1))}),
        ["user 7 messages 1, 2"],
        snapshot(tables={"messages": messages((1, 7, BIG), (2, 8, BIG), (3, 7, BIG - 1))}),
    ),
    (
        "body_unreadable",
        snapshot(
            tables={"messages": BODIES},
            said={"messages": {"unreadable": [10, 11], "unreadable_more": 0}},
        ),
        ["message 10", "message 11"],
        snapshot(
            tables={"messages": BODIES}, said={"messages": {"unreadable": [], "unreadable_more": 0}}
        ),
    ),
    (
        "body_unreadable",
        snapshot(
            tables={"messages": BODIES},
            said={"messages": {"unreadable": [10], "unreadable_more": 7}},
        ),
        ["message 10", "more"],
        snapshot(
            tables={"messages": BODIES}, said={"messages": {"unreadable": [], "unreadable_more": 0}}
        ),
    ),
    (
        "missing_index",
        snapshot(missing_indexes=["message_boxes(user_id, pts)", "users(phone) unique"]),
        ["message_boxes(user_id, pts)", "users(phone) unique"],
        snapshot(missing_indexes=[]),
    ),
]
CASES += [*PRESENCE_CASES, *TABLE_CASES]
IDS = [f"{name} {at}" for at, (name, *_) in enumerate(CASES)]
_SEVERE = {
    "error": "server_clock server_silent now_in_milliseconds pts_gap pts_duplicate pts_lost_at_end "
    "sequence_behind sequence_behind_boxes sequence_absent dialog_disagrees dialog_missing "
    "orphan_box message_without_boxes box_missing message_of_nobody box_of_nobody "
    "box_of_outsider box_of_another_sender duplicate_random_id orphan_participant "
    "participant_twice",
    "warning": "session_held_twice key_without_ttl key_outlives_lease malformed future_session "
    "orphan_session deleted_user_online auth_key_of_another many_sessions sequence_ahead "
    "sequence_lost client_ahead read_beyond_newest mentions_without_unread future_date "
    "body_unreadable participant_count creator_not_in_chat orphan_contact username_twice "
    "phone_twice orphan_auth device_without_auth token_of_two",
    "info": "lease_length mixed_layouts ghost lone_server two_countries pts_starts_late "
    "dialog_counting body_damaged missing_index",
}
SEVERITY = {name: severity for severity, names in _SEVERE.items() for name in names.split()}


def found(world: Snapshot, check: str) -> list[tuple[str, str]]:
    """Return severity and subject of what one check finds, and of what it skips."""
    return [
        (severity, subject)
        for _, severity, subject, *_ in audit(world, [check]).rows.itertuples(index=False)
        if not subject.startswith("servers ")  # too few users to tell a clock by
    ]


@pytest.mark.parametrize(("check", "faulty", "subjects", "sound"), CASES, ids=IDS)
def test_a_check_finds_its_fault_and_nothing_else(
    check: str, faulty: Snapshot, subjects: list[str], sound: Snapshot
) -> None:
    """The world with the fault gives exactly its subjects, at the check's severity; the one without
    gives nothing.
    """
    assert [(SEVERITY[check], subject) for subject in subjects] == found(faulty, check)
    assert [] == found(sound, check)


@pytest.mark.parametrize(("check", "faulty", "subjects", "sound"), CASES, ids=IDS)
def test_how_to_look_shows_something(
    check: str, faulty: Snapshot, subjects: list[str], sound: Snapshot
) -> None:
    """The query that comes with a finding runs, and gives the rows in question."""
    for query in audit(faulty, [check]).rows["how_to_look"]:
        if query.startswith("SELECT") and "more" not in subjects:
            assert len(faulty.sql(query)) >= 1, query


def test_every_check_has_its_two_worlds() -> None:
    """No check is without a case here."""
    assert set(CHECKS) == {name for name, *_ in CASES} == set(SEVERITY)


def test_an_unknown_check_is_refused() -> None:
    """The message names it, and those that there are."""
    with pytest.raises(
        imlib.InvalidValueError,
        match=r"^gohst: no such check. There are server_clock, server_silent, ",
    ):
        audit(snapshot(), ["ghost", "gohst"])
    with pytest.raises(
        imlib.InvalidValueError, match=r"^checks is 'ghost': allowed is a list of names"
    ):
        audit(snapshot(), "ghost")


@pytest.mark.parametrize(
    ("world", "reason"),
    [
        (snapshot(), "not in the snapshot: message_boxes"),
        (
            snapshot(tables={"message_boxes": table("id user_id")}),
            "not in the snapshot: message_boxes.pts",
        ),
        (
            snapshot(
                tables={"message_boxes": TWO_BOXES}, said={"message_boxes": {"truncated": True}}
            ),
            "cut short by the row limit: message_boxes",
        ),
        (
            snapshot(
                tables={"message_boxes": TWO_BOXES}, said={"message_boxes": {"filtered": True}}
            ),
            "only a part was asked for: message_boxes",
        ),
        (
            snapshot(tables={"message_boxes": TWO_BOXES.astype({"pts": "str"})}),
            "carried as something else than integers: message_boxes.pts",
        ),
        (
            snapshot(
                tables={"message_boxes": TWO_BOXES.astype({"pts": "Float64", "user_id": "str"})}
            ),
            "carried as something else than integers: message_boxes.user_id, message_boxes.pts",
        ),
    ],
)
def test_what_cannot_be_told_is_skipped(world: Snapshot, reason: str) -> None:
    """A check without all of its rows says so, once, and guesses nothing."""
    findings = audit(world, ["pts_gap"]).rows
    assert [("pts_gap", "skipped", "", reason)] == list(
        findings.iloc[:, :4].itertuples(index=False, name=None)
    )


def with_nulls(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, and for each column but the first its first row once more with
    NULL there.
    """
    parts = [frame]
    for name in list(frame)[1:]:
        one = frame[:1].copy()
        one[name] = pd.array([None], dtype="Int64")
        parts.append(one)
    return pd.concat(parts, ignore_index=True)


def test_null_names_nothing() -> None:
    """Rows in which a drifted table holds NULL trouble no check: what is beside them is found all
    the same.
    """
    boxes_of = boxes((1, 7, 1, 10, 0, 2, 8), (2, 7, 3, 11, 0, 2, 8)).astype("Int64")
    tables = {
        "message_boxes": with_nulls(boxes_of),
        "messages": messages((10, 7, 1)).astype("Int64"),
    }
    tables |= {"user_dialogs": with_nulls(dialog(11, 2).astype("Int64"))}
    tables |= chats([(1, 7), (1, 9)])
    tables["chat_users"] = with_nulls(tables["chat_users"].astype("Int64"))
    world = snapshot(tables=tables)
    assert [("error", "user 7 pts 2")] == found(world, "pts_gap")
    assert [("error", "user 7 message 11")] == found(world, "orphan_box")
    assert [("error", "user 9 chat 1")] == found(world, "orphan_participant")
    audit(world, ["pts_duplicate", "dialog_disagrees", "duplicate_random_id", "orphan_session"])


@pytest.mark.parametrize(
    ("check", "world", "said"),
    [
        (
            "future_session",
            snapshot([session(age=-5)]),
            "reported 5 s from now: the clock of server 3 is ahead by at least that; "
            "2 s are allowed",
        ),
        ("orphan_session", snapshot([session()], keys([7], [1])), "its auth key is in no table"),
        ("orphan_session", snapshot([session()], keys([8], [-42])), "its user is in no table"),
        (
            "orphan_session",
            snapshot([session()], keys([8], [1])),
            "its user and auth key are in no table",
        ),
        (
            "dialog_disagrees",
            snapshot(tables={"user_dialogs": dialog(11, 3), "message_boxes": TWO_BOXES}),
            "unread_count is 3, and 1 of its boxes are unread",
        ),
        (
            "dialog_disagrees",
            snapshot(tables={"user_dialogs": dialog(10, 0), "message_boxes": boxes()}),
            "top_message is 10, its newest box has 0",
        ),
        ("malformed", snapshot(malformed_not_kept=3), "3 more were counted and not kept"),
        ("orphan_participant", snapshot(tables=chats([(1, 9)])), "the user is not in users"),
        ("orphan_participant", snapshot(tables=chats([(2, 7)])), "the chat is not in chats"),
        (
            "body_unreadable",
            snapshot(
                tables={"messages": BODIES},
                said={"messages": {"unreadable": [], "unreadable_more": 7}},
            ),
            "7 more were counted and not kept",
        ),
    ],
)
def test_a_finding_says_what_is_wrong(check: str, world: Snapshot, said: str) -> None:
    """The sentence is of this fault, with its own numbers."""
    assert [said] == list(audit(world, [check]).rows["what"])


def test_the_first_box_has_no_gap_before_it() -> None:
    """What a user had before the oldest box is unknown; user 0 is a user like others."""
    first = boxes((1, 0, 5, 10, 0, 2, 8), (2, 7, 9, 11, 0, 2, 8))
    assert [] == found(snapshot(tables={"message_boxes": first}), "pts_gap")


def test_two_rows_of_one_dialog_count_its_boxes_once() -> None:
    """Where no unique key forbids it each of them is held against the same boxes."""
    twice = pd.concat([dialog(11, 1), dialog(10, 1)], ignore_index=True)
    findings = audit(
        snapshot(tables={"user_dialogs": twice, "message_boxes": TWO_BOXES}), ["dialog_disagrees"]
    ).rows
    assert ["top_message is 10, its newest box has 11"] == list(findings["what"])


def test_an_auth_key_of_an_unsigned_column() -> None:
    """It is compared to the last digit, though another table's column is signed."""
    tables = keys([7], [-42], "auths") | {
        "auth_users": pd.DataFrame({"auth_id": pd.array([BIG], dtype="uint64")})
    }
    world = snapshot([session(auth_key_id=BIG), session(auth_key_id=BIG + 1)], tables)
    assert [("warning", f"online_7 {BIG + 1}_1")] == found(world, "orphan_session")


@pytest.mark.parametrize("check", ["sequence_behind", "sequence_ahead"])
def test_counters_that_were_not_read_are_skipped(check: str) -> None:
    """Where the table could not be compared, that Redis agrees with it is not told either."""
    world = snapshot(sequences=({"7": 5}, None, {"7": 5}))
    assert [("skipped", "")] == found(world, check)
    assert [] == found(snapshot(sequences=({"7": 5}, {"7": 5}, {"7": 5})), check)


def test_unknown_indexes_are_skipped() -> None:
    """Where the database would not say which indexes it has, that is no finding and no
    all-clear.
    """
    assert [("skipped", "")] == found(snapshot(missing_indexes=None), "missing_index")


def test_a_number_of_any_length() -> None:
    """A field of digits beyond what Python makes a number of is a finding like any other, in its
    place.
    """
    long = [b"9" * digits for digits in (5000, 2, 6000)]
    world = snapshot(malformed=[Malformed(b"online_5", field, b"x", "no field") for field in long])
    assert [f"online_5 {'9' * digits}" for digits in (2, 5000, 6000)] == list(
        [one.subject for one in audit(world)][:3]
    )


def test_the_order_is_always_the_same() -> None:
    """By check as they are listed, then by subject with numbers as numbers, whatever order the rows
    are in.
    """
    rows = [
        session(user_id, session_id=number, age=60)
        for user_id in (2, 9, 10, 100)
        for number in (1, 2)
    ]
    expected = audit(snapshot(rows)).rows
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        pd.testing.assert_frame_equal(expected, audit(snapshot(rows)).rows)
    ghosts = expected.loc[expected["check"] == "ghost", "subject"]
    assert ["online_2", "online_9", "online_10", "online_100"] == list(
        dict.fromkeys(one.split()[0] for one in ghosts)
    )
    ran = list(dict.fromkeys(expected["check"]))
    assert [name for name in CHECKS if name in ran] == ran


def test_an_empty_audit_has_its_columns() -> None:
    """Where nothing is wrong there is a frame without rows, all of whose columns are str."""
    findings = audit(snapshot(), ["ghost"]).rows
    assert dict.fromkeys(("check", "severity", "subject", "what", "how_to_look"), "str") == {
        name: str(dtype) for name, dtype in findings.dtypes.items()
    }


def test_bodies_that_nobody_judged_are_skipped() -> None:
    """Where a snapshot does not say which bodies are JSON, as an older one, that is no
    all-clear.
    """
    assert [("skipped", "")] == found(snapshot(tables={"messages": BODIES}), "body_unreadable")


@pytest.fixture(scope="module")
def sample() -> Any:
    """Give a snapshot of the sample world, out of real servers."""
    clock = imlib.ManualClock(NOW)
    with imlib.connect("embedded://", "embedded://", scratch=True, clock=clock) as deployment:
        deployment.load_sample()
        return deployment.snapshot()


def test_the_sample_world_holds_what_was_planted(sample: Snapshot) -> None:
    """Every planted fault is found, and no other."""
    planted = [(fault.check, fault.subject) for fault in PLANTED]
    findings = sample.audit()
    assert sorted(planted) == sorted((one.check, one.subject) for one in findings)
    assert len(planted) == len(findings) == sum(findings.counts.values())
    # Its servers have too few users.
    skipped = findings.rows[findings.rows["severity"] == "skipped"]
    assert ["server_clock"] == list(skipped["check"])


def test_how_to_look_works_on_the_sample_world(sample: Snapshot) -> None:
    """Every query that the audit hands out runs on real frames, and shows at least a row."""
    queries = [query for query in sample.audit().rows["how_to_look"] if query.startswith("SELECT")]
    assert len(queries) > 20
    assert all(len(sample.sql(query)) >= 1 for query in queries)


def test_findings_hold_no_masked_value(sample: Snapshot) -> None:
    """What is masked in the frames is in no finding."""
    assert "FAKE" not in sample.audit().rows.to_csv()


def test_a_loaded_snapshot_is_audited_alike(sample: Snapshot, tmp_path: Any) -> None:
    """The audit of what was saved is that of what was taken."""
    sample.save(tmp_path / "saved")
    pd.testing.assert_frame_equal(
        sample.audit().rows, imlib.Snapshot.load(tmp_path / "saved").audit().rows
    )


def test_an_incomplete_snapshot_is_no_all_clear(sample: Snapshot) -> None:
    """Without the tables each check that needs them is skipped, and those of Redis still run."""
    alone = dataclasses.replace(sample, tables={})
    findings = alone.audit().rows
    assert {"pts_gap", "orphan_session"} <= set(
        findings.loc[findings["severity"] == "skipped", "check"]
    )
    assert {"ghost", "malformed"} <= set(findings.loc[findings["severity"] != "skipped", "check"])


def test_no_check_is_refused_by_duckdb(sample: Snapshot) -> None:
    """Every SQL text is understood: what is skipped is so for want of facts."""
    skipped = sample.audit().rows.query("severity == 'skipped'")
    assert {"server_clock"} == set(skipped["check"])
    assert ["servers 1, 2, 3, 4"] == list(skipped["subject"])


def test_findings_are_bounded_and_counted() -> None:
    """The first rows are kept, in their order, and all are counted."""
    many = boxes(*[(at, 7, 2 * at, at, 0, 2, 8) for at in range(1, 1_202)])
    # Others, so that it isn't most of them.
    other = boxes(*[(at, 8, at, at, 0, 2, 7) for at in range(1, 9_001)])
    world = snapshot(tables={"message_boxes": pd.concat([many, other])})
    findings = audit(world, ["pts_gap"])
    assert (1_000, 1_000, {"pts_gap": 1_200}) == (
        len(findings),
        len(findings.rows),
        findings.counts,
    )
    assert ["user 7 pts 3", "user 7 pts 5"] == [one.subject for one in findings][:2]
    assert 1_200 == len(audit(world, ["pts_gap"], limit=None))
    assert "pts_gap (1,200)  no box has it: user 7 pts 3; user 7 pts 5; " in repr(findings)
    with pytest.raises(imlib.InvalidValueError, match="limit is 0: allowed is 1 or more"):
        audit(world, limit=0)


@pytest.mark.parametrize(("faulty", "sound", "rows"), [(21, 84, 21), (21, 83, 1), (20, 10, 20)])
def test_what_most_rows_share_is_one_finding(faulty: int, sound: int, rows: int) -> None:
    """It is one from more than a fifth and more than 20 on, with the count and three samples."""
    bad = [session(user_id, age=20) for user_id in range(1, faulty + 1)]
    good = [session(1_000 + user_id) for user_id in range(sound)]
    findings = audit(snapshot([*bad, *good]), ["ghost"])
    assert (rows, {"ghost": faulty}) == (len(findings), findings.counts)
    if rows == 1:
        (one,) = findings
        assert f"21 of {faulty + sound}" == one.subject
        assert one.what.endswith("; such as online_1 -42_1; online_2 -42_1; online_3 -42_1")


def test_findings_as_a_collection() -> None:
    """They have a length, are gone through one by one, and are true if there is any; what was
    skipped is none.
    """
    findings = audit(snapshot([session(age=60)]), ["ghost", "pts_gap"])
    assert (1, True) == (len(findings), bool(findings))
    assert ["online_7 -42_1"] == [one.subject for one in findings]
    assert ["ghost", "pts_gap"] == list(findings.rows["check"])
    none = audit(snapshot(), ["ghost", "pts_gap"])
    assert (0, False, []) == (len(none), bool(none), list(none))
    assert "nothing was found\nnot judged, or not wholly (1): pts_gap" == repr(none)


def test_the_summary_is_one_screen() -> None:
    """At most 40 lines of 100 columns, wide letters counted as two; the next step is whole, and the
    last line counts what else there is.
    """
    every = [
        Finding(name, check.severity, "字" * 60, "x" * 90, "SELECT " + "y" * (84 + at % 3))
        for at, (name, check) in enumerate(CHECKS.items())
    ]
    rows = pd.DataFrame(every, columns=Finding._fields, dtype="str")
    findings = Findings(rows, dict.fromkeys(CHECKS, 1))
    lines = findings.summary("imlib audit monday").splitlines()
    assert 40 == len(lines)
    assert all(
        sum(1 + (unicodedata.east_asian_width(one) in "WF") for one in line) <= 100
        for line in lines
    )
    assert lines[-1].startswith(f"and {len(CHECKS) - 19} more kinds (imlib audit monday --all): ")
    steps = [line.strip() for line in lines[2:-1:2]]
    assert all(
        re.fullmatch(r"SELECT y{84,85}|imlib audit monday --check \w+", one) for one in steps
    )
    assert 3 > abs(sum(one.startswith("SELECT") for one in steps) - 12)
    assert f"<pre>{lines[0]}" in findings._repr_html_()


def test_a_restored_dump_is_judged_by_its_own_time() -> None:
    """Every check takes that instant; times to live, which go on, tell nothing then."""
    world = snapshot([session(age=100, key_ttl_s=900.0)], taken_at=NOW)
    messages_of = table("id date2", (5, NOW))
    world.tables["messages"], world.tables["message_boxes"] = (
        messages_of,
        table("user_id message_id date2", (7, 5, NOW)),
    )
    checks = ["ghost", "key_outlives_lease", "future_date"]
    assert ["ghost", "key_outlives_lease"] == [one.check for one in audit(world, checks)]
    assert ["future_date"] == [one.check for one in audit(world, checks, at=NOW - 84)]
    assert ["ghost"] == [one.check for one in audit(world, checks, at=NOW - 59 + 0.5)]


def test_an_audit_of_one_user() -> None:
    """What is about that user, also where the finding is about several, and nothing else."""
    world = names("Ann", "ann", "bob", "BOB")
    assert ["users 1, 2"] == [one.subject for one in audit(world, ["username_twice"], user_id=2)]
    ghosts = [session(user_id, age=60, key_ttl_s=float("nan")) for user_id in range(100)]
    assert ["online_9 -42_1", "online_9"] == [
        one.subject for one in audit(snapshot(ghosts), user_id=9)
    ]


@pytest.mark.parametrize(
    ("kinds", "way", "wrong"),
    [
        ([(1, 95), (2, 5)], None, 5),
        ([(2, 95), (1, 5)], "the deployed", 5),
        ([(2, 94), (1, 5), (3, 1)], "mixed", 1),
        ([(1, 97), (0, 3)], None, 3),
        ([(2, 97), (0, 3)], "the deployed", 3),
    ],
)
def test_dialogs_are_judged_by_the_counting_of_most(
    kinds: list[tuple[int, int]], way: str | None, wrong: int
) -> None:
    """By 95 % it is the database's, and every dialog is judged by it; else each by either."""
    findings = audit(dialogs(kinds), ["dialog_counting", "dialog_disagrees"])
    rows = [one.what.split(" counting")[0] for one in findings if one.check == "dialog_counting"]
    assert ([way] if way else []) == rows
    assert wrong == findings.counts.get("dialog_disagrees", 0)


@pytest.mark.parametrize("way", ["imlib's", "the deployed"])
def test_a_hundred_thousand_sound_dialogs(way: str) -> None:
    """On either counting there is no finding but which it is."""
    findings = dialogs([(1 if way == "imlib's" else 2, 100_000)]).audit(
        ["dialog_counting", "dialog_disagrees", "dialog_missing", "read_beyond_newest"]
    )
    expected = [] if way == "imlib's" else ["dialog_counting"]
    assert expected == [one.check for one in findings if one.check != "read_beyond_newest"]


def test_participants_of_the_later_table() -> None:
    """Where chat_participants holds rows it is judged, and named in the query."""
    world = snapshot(
        tables=chats([(1, 7)]) | {"chat_participants": table("chat_id user_id", (1, 9))}
    )
    (one,) = audit(world, ["orphan_participant"])
    assert "SELECT * FROM chat_participants WHERE chat_id = 1 AND user_id = 9" == one.how_to_look


def test_a_clock_that_cannot_be_told() -> None:
    """Of fewer than 20 users that is said, and nothing is guessed."""
    world = snapshot([*fleet(1), *off(fleet(3, users=19), 30)])
    findings = audit(world, ["server_clock"])
    assert [("skipped", "servers 3")] == list(
        findings.rows[["severity", "subject"]].itertuples(index=False, name=None)
    )
    assert (0, 0) == (len(findings), sum(findings.counts.values()))


def test_a_clock_says_how_far_it_is_off() -> None:
    """In both directions, and Redis's own where all servers share it."""
    told = {
        one.subject: one.what
        for world in ([*fleet(1), *off(fleet(3), 30), *off(fleet(4), -8)], off(fleet(5, 6), 6))
        for one in audit(snapshot(world), ["server_clock"])
    }
    assert told["server 3"].startswith("its clock is 30 s behind the one of Redis")
    assert told["server 4"].startswith("its clock is 8 s ahead of the one of Redis")
    assert told["Redis"].startswith("its clock is 6 s ahead of the clocks of all servers")
    assert told["Redis"].endswith("as 40 users with one session tell")


def test_what_an_older_snapshot_does_not_say_is_skipped() -> None:
    """One that was kept before these were told while reading is no all-clear."""
    people = pd.DataFrame({"id": [1], "phone": ["masked:0"]}).astype({"phone": "str"})
    world = snapshot(tables={"messages": BODIES, "users": people})
    findings = audit(world, ["session_held_twice", "body_damaged", "phone_twice"])
    assert [
        "the snapshot does not say which sessions on two servers there are",
        "the snapshot does not say which unreadable bodies there are",
        "the snapshot does not say which phone twins there are",
    ] == list(findings.rows["what"])
    assert {"skipped"} == set(findings.rows["severity"])


def test_a_server_whose_clock_is_off_on_a_real_redis() -> None:
    """Reports of a clock that is 30 s behind are told as such, and none of them as a ghost."""
    with imlib.connect("embedded://", "embedded://", scratch=True) as deployment:
        now = int(deployment.redis.time()[0])
        for user_id in range(1, 51):
            server_id = 1 + user_id % 2
            status = imlib.SessionStatus(user_id, 7, 8, server_id, 9, now - 30 * (server_id - 1))
            deployment.online_status.set_online(status)
        findings = deployment.snapshot(tables=[]).audit(["server_clock", "server_silent", "ghost"])
    assert [("server_clock", "server 2")] == [(one.check, one.subject) for one in findings]
