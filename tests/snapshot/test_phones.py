"""Phones that differ by a leading + are told while they are read, and nothing else of them is."""

from __future__ import annotations

import pyarrow as pa

import imlib
from imlib.snapshot.phones import PhoneTwins


def told(*phones: str | None) -> list[list[int]]:
    """Return the pairs among users 1, 2 … with these phones, read in batches of two."""
    twins = PhoneTwins()
    for at in range(0, len(phones), 2):
        some = phones[at : at + 2]
        ids = pa.array(range(at + 1, at + 1 + len(some)), pa.int32())
        twins.add(ids, pa.array(some, pa.large_string()))
    return twins.pairs()


def test_phones_that_differ_by_a_plus() -> None:
    """In one batch or in two; not what is absent, empty, or another number."""
    assert [[1, 2], [3, 6]] == told("+7", "7", "49", "1", None, "+49", "", None, "")
    assert [] == told("+7", "8", None, "", "+")
    assert [] == told()


def test_a_phone_that_is_no_text_has_no_plus() -> None:
    """A drifted column of numbers is left alone."""
    twins = PhoneTwins()
    twins.add(pa.array([1, 2]), pa.array([7, 7]))
    assert [] == twins.pairs()


def test_a_snapshot_and_its_audit_tell() -> None:
    """The phones stay masked; the two users are named."""
    with imlib.connect("embedded://", "embedded://", scratch=True) as deployment:
        one = deployment.users.create_user("+4915550100", "Ann")
        other = deployment.users.create_user("4915550100", "Ann")
        deployment.users.create_user("4915550101", "Bob")
        taken = deployment.snapshot(tables=["users"])
    assert taken.tables["users"]["phone"].str.startswith("masked:").all()
    findings = taken.audit(["phone_twice"])
    assert [f"users {one.id}, {other.id}"] == [finding.subject for finding in findings]
