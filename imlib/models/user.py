"""Users, and what one user sees of another."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from imlib.context import Context
from imlib.errors import InvalidValueError
from imlib.models.account import AccountModel
from imlib.models.base import Model, absent, insert, new_random_id
from imlib.models.records import Contact, Link, Peer, User, UserFull

_USERS = User.table


class UserModel(Model):
    """Operations on ``users`` and ``user_contacts``."""

    def __init__(self, context: Context, accounts: AccountModel) -> None:
        super().__init__(context)
        self._accounts = accounts

    def create_user(
        self,
        phone: str,
        first_name: str,
        last_name: str = "",
        *,
        username: str = "",
        country_code: str = "",
    ) -> User:
        """Create an account.

        Parameters
        ----------
        phone : str
            1 to 32 characters, which no other user has.
        first_name, last_name, username : str
            Up to 255 characters each.
        country_code : str
            Two letters, or empty.
        """
        if not phone:
            raise InvalidValueError("phone is empty; allowed are 1 to 32 characters")
        values = {
            "access_hash": new_random_id(),
            "first_name": first_name,
            "last_name": last_name,
            "username": username,
            "phone": phone,
            "country_code": country_code,
            "bio": "",
            "about": "",
            "deleted_reason": "",
        }

        def work(connection: sa.Connection) -> User:
            others = sa.select(_USERS.c.id).where(_USERS.c.phone == phone).with_for_update()
            if connection.scalar(others) is not None:
                raise InvalidValueError(
                    "phone is another user's; allowed is one that nobody has, nothing was written"
                )
            user_id = insert(connection, _USERS, values)
            return User.read(connection, User.select(id=user_id))[0]

        return self._write("create_user", work)

    def get_user(self, user_id: int) -> User | None:
        """Return a user, or None if there is none."""
        return next(iter(self.get_user_list([user_id])), None)

    def get_user_list(self, user_ids: Collection[int]) -> list[User]:
        """Return the users of these ids, in this order; an id without a user is left out."""
        return self._read_ids(User, User.select(), user_ids)

    def get_user_full(self, self_user_id: int, user_id: int) -> UserFull:
        """Return a user as another user sees them: link, notify settings, whether blocked.

        Raises
        ------
        NotFoundError
            There is no user ``user_id``.
        """
        user = self.get_user(user_id)
        if user is None:
            raise absent("users", user_id)
        theirs, mine = self._contact(user_id, self_user_id), self._contact(self_user_id, user_id)
        listed = [each is not None and not each.is_deleted for each in (mine, theirs)]
        settings = self._accounts.get_notify_settings(self_user_id, Peer.user(user_id))
        blocked = mine is not None and mine.is_blocked
        return UserFull(
            user, Link(contact=listed[0], mutual=all(listed)), settings, blocked, user.about
        )

    def get_contacts(self, user_id: int) -> list[Contact]:
        """Return a user's contacts, without deleted ones."""
        return self._contacts(owner_user_id=user_id, is_deleted=0)

    def get_blocked(self, user_id: int) -> list[Contact]:
        """Return the contacts that a user has blocked, deleted ones too."""
        return self._contacts(owner_user_id=user_id, is_blocked=1)

    def _contact(self, owner_id: int, contact_id: int) -> Contact | None:
        return next(iter(self._contacts(owner_user_id=owner_id, contact_user_id=contact_id)), None)

    def _contacts(self, **where: int) -> list[Contact]:
        contacts = Contact.select(**where).order_by(Contact.table.c.contact_user_id)
        return self._read(Contact, contacts)
