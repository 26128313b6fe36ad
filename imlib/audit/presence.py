"""Checks of what Redis holds, causes first: clocks and servers, then sessions and keys.

A session's own time is its server's, and a key's time to live is Redis's. Of a user with one
session both began with the same report: so they tell how far the server's clock is off.
"""

from __future__ import annotations

from imlib.audit.check import ENOUGH, check

SERVERS = """
CREATE TEMP TABLE servers AS
WITH keys AS (
    SELECT any_value(server_id) AS server_id, min(age_s) AS age_s, any_value(key_ttl_s) AS ttl,
        any_value(layout) AS layout, count(*) AS sessions
    FROM held_sessions, facts
    WHERE live AND now < 100_000_000_000 GROUP BY user_id HAVING ttl IS NOT NULL
), usual AS (
    -- Of a fleet with two leases each server has its own half.
    SELECT halved.* FROM (SELECT *, if(count(*) OVER server >= {enough},
            median(ttl) OVER server, median(ttl) OVER ()) AS half
        FROM keys WINDOW server AS (PARTITION BY server_id)) AS halved, facts
    WHERE ttl <= greatest(3 * half, lease_s)
), fleet AS (
    -- What age and time to live add up to, unless a clock that is far off adds to it.
    SELECT coalesce(quantile_cont(age_s + ttl, 0.1) FILTER (ttl > lease_s + 0.5),
            quantile_cont(age_s + ttl, 0.1)) - 1 AS total, max(ttl) AS most,
        round_lease(if(total BETWEEN most AND 1.4 * most, total, most)) AS common
    FROM usual, facts
    HAVING (count(*) >= 5
            AND count(*) FILTER (ttl > lease_s + 0.5) * if(count(*) < {enough}, 2, 20) > count(*))
        OR (greatest(total, most) < any_value(lease_s) - 2 AND count(*) >= 5 * {enough})
), alone AS (
    SELECT * FROM usual WHERE sessions = 1
), tried AS (
    SELECT server_id, max(ttl) AS longest, unnest([1, 2, 3]) AS place,
        unnest([lease_s, common, round_lease(longest)]) AS tried
    FROM alone, facts LEFT JOIN fleet ON true GROUP BY server_id, lease_s, common
), clocks AS (
    -- A deployed goodbye writes a time that has just run out, and renews the key.
    SELECT server_id, place, tried, counts_for(tried) - tried AS allowed,
        age_s + ttl - tried AS off,
        layout = 'deployed' AND off - counts_for(tried) BETWEEN 0 AND 1.3 AS goodbye
    FROM alone JOIN tried USING (server_id) WHERE tried >= longest - 0.5
), told AS (
    SELECT server_id, place, tried, allowed, count(*) FILTER (NOT goodbye) AS alive,
        if(alive >= {enough}, alive, NULL) AS told,
        if(told > 0, quantile_cont(off, 0.1) FILTER (NOT goodbye), 0) AS off
    FROM clocks GROUP BY ALL HAVING count(*) >= {enough}
), clock AS (
    SELECT DISTINCT ON (server_id) *, if(off BETWEEN -allowed AND allowed + 0.5, NULL, off) AS wrong
    FROM told ORDER BY server_id, wrong IS NOT NULL, if(wrong IS NULL, place, place // 3), tried
)
SELECT server_id, count(*) AS sessions, count(DISTINCT user_id) AS users, min(age_s) AS youngest,
    (SELECT count(*) FROM alone WHERE alone.server_id = held_sessions.server_id) AS alone,
    any_value(told) AS told, any_value(coalesce(tried, common, lease_s)) AS lease,
    counts_for(lease) AS counts_s, any_value(wrong) AS wrong_s,
    count(wrong_s) OVER () > 1 AND min(wrong_s) OVER () * max(wrong_s) OVER () > 0
        AND max(wrong_s) OVER () - min(wrong_s) OVER () < 2
        AND count(*) OVER () = count(wrong_s) OVER () AS of_redis
FROM held_sessions LEFT JOIN clock USING (server_id), facts LEFT JOIN fleet ON true
WHERE now < 100_000_000_000 GROUP BY server_id
""".replace("{enough}", str(ENOUGH))
"""What is known of each server: its lease, and how far its clock is behind Redis's."""
MACROS = (
    """CREATE TEMP MACRO round_lease(s) AS if(ceil(s / 5) * 5 - s < 2, ceil(s / 5) * 5, ceil(s))""",
    """CREATE TEMP MACRO counts_for(s) AS
    (SELECT if(s = lease_s, check_s, s + greatest(2, s // 6)) FROM facts)""",
)
JUDGED = """
CREATE TEMP VIEW judged_sessions AS
SELECT held_sessions.* REPLACE (age_s - coalesce(wrong_s, 0) AS age_s), counts_s,
    age_s - coalesce(wrong_s, 0) < coalesce(counts_s, check_s) AS counts,
    'online_' || user_id || ' ' || auth_key_id || CASE layout WHEN 'documented'
        THEN '_' || session_id WHEN 'deployed' THEN '@' || session_id ELSE '' END AS entry
FROM held_sessions LEFT JOIN servers USING (server_id), facts
"""
"""Sessions by the corrected time of their servers."""

_ENTRIES = "SELECT * FROM sessions WHERE user_id = {user_id}"
_ENTRY = f"{_ENTRIES} AND auth_key_id = {{auth_key_id}} AND session_id = {{session_id}}"
_SERVER = "SELECT * FROM sessions WHERE server_id = {server_id}"
_CLOCKS = "SELECT server_id, min(age_s), max(key_ttl_s) FROM sessions GROUP BY ALL"

PRESENCE = (
    check(
        "server_clock",
        "error",
        "A server whose clock is off by more than is allowed: its users look offline, or online.",
        f"""SELECT subject, 'error' AS severity,
            format('its clock is {{:.0f}} s {{}} {{}}, as {{}} users with one session tell',
                abs(off), if(off < 0, 'ahead of', 'behind'), other, users) AS what
        FROM (SELECT if(of_redis, 'Redis', 'server ' || server_id) AS subject, sum(told) AS users,
                if(of_redis, 'the clocks of all servers', 'the one of Redis') AS other,
                avg(if(of_redis, -wrong_s, wrong_s)) AS off
            FROM servers WHERE wrong_s IS NOT NULL GROUP BY subject, other)
        UNION ALL
        SELECT 'servers ' || string_agg(server_id, ', ' ORDER BY server_id), 'skipped',
            'fewer than {ENOUGH} users with one session: whether their clocks are right cannot be '
            || 'told'
        FROM servers WHERE told IS NULL HAVING count(*) > 0""",
        "{subject}",
        "{what}",
        _CLOCKS,
        sessions="",
    ),
    check(
        "server_silent",
        "error",
        "A server that stopped reporting: it died, or it is cut off from Redis.",
        f"""SELECT server_id, youngest, users FROM servers
        WHERE users >= {ENOUGH} AND wrong_s IS NULL AND alone * 10 < users
            AND youngest BETWEEN counts_s AND 10 * lease""",
        "server {server_id}",
        "last heartbeat {youngest:.0f} s ago; other servers still hold ghosts of {users} users. "
        "Users without another session left no trace: a history that watch keeps has them",
        _SERVER,
        sessions="",
    ),
    check(
        "now_in_milliseconds",
        "error",
        "A server that writes milliseconds for seconds: its sessions count for ever.",
        """SELECT server_id, count(*) AS sessions, min(entry) AS entry FROM sessions
        WHERE now BETWEEN 100_000_000_000 AND 100_000_000_000_000 GROUP BY ALL""",
        "server {server_id}",
        "its times are in milliseconds: {sessions} sessions, such as {entry}",
        _SERVER,
        sessions="",
    ),
    check(
        "lease_length",
        "info",
        "Servers whose lease is of another length than sessions are judged by.",
        """SELECT lease, counts_for(lease) AS counts_s, lease_s, count(*) AS servers
        FROM servers, facts WHERE lease <> lease_s GROUP BY ALL""",
        "lease of {lease:.0f} s",
        "{servers} servers use it; sessions were judged by a lease of {lease_s} s",
        "imlib.connect(online_timeout={lease:.0f}, check_online_timeout={counts_s:.0f})",
        sessions="",
    ),
    check(
        "mixed_layouts",
        "info",
        "Users with sessions in several layouts: an upgrade is under way.",
        """SELECT string_agg(n || ' ' || layout || ' on server ' || server_id, ', '
            ORDER BY layout, server_id) AS counts,
            (SELECT count(*) FROM (SELECT user_id FROM sessions GROUP BY ALL
                HAVING count(DISTINCT layout) > 1)) AS users
        FROM (SELECT layout, server_id, count(*) AS n FROM sessions GROUP BY ALL)
        HAVING users > 0""",
        "all servers",
        "an upgrade is under way: users with sessions in several layouts: {users}; {counts}",
        "SELECT server_id, layout, count(*) FROM sessions GROUP BY ALL ORDER BY ALL",
        sessions="",
    ),
    check(
        "session_held_twice",
        "warning",
        "One session that two servers hold at once: each believes that the client is its own.",
        "SELECT unnest(sessions_on_two_servers) AS user_id FROM facts",
        "online_{user_id}",
        "a session stands in it twice, of two servers, and both count",
        _ENTRIES,
        sessions="",
        facts="sessions_on_two_servers",
    ),
    check(
        "ghost",
        "info",
        "A session past its lease, still in Redis: a sibling renews the key, or it never expires.",
        """SELECT user_id, auth_key_id, session_id, server_id, age_s, entry,
            coalesce(counts_s, check_s) AS counts_s
        FROM sessions, facts WHERE NOT counts""",
        "{entry}",
        "last reported {age_s:.0f} s ago on server {server_id}; it counts for {counts_s:.0f} s",
        _ENTRY,
        sessions="",
    ),
    check(
        "key_without_ttl",
        "warning",
        "A presence key that never expires: a crash between HSET and EXPIRE leaves one.",
        # Keys without a session: all that they hold is malformed.
        """SELECT DISTINCT user_id, 'sessions' AS frame, 'user_id = ' || user_id AS rows
        FROM sessions WHERE key_ttl_s IS NULL
        UNION ALL
        SELECT item, 'malformed', 'key = ''online_' || item || ''''
        FROM (SELECT unnest(never_expire) AS item FROM facts)""",
        "online_{user_id}",
        "it has no time to live, and stays for ever",
        "SELECT * FROM {frame} WHERE {rows}",
        of="count(DISTINCT user_id) FROM sessions",
        sessions="",
    ),
    check(
        "key_outlives_lease",
        "warning",
        "A presence key that lives longer than any lease: somebody else set its time to live.",
        """SELECT user_id, max(key_ttl_s) AS ttl, any_value(longest) AS longest
        FROM sessions, (SELECT greatest(max(lease), max(lease_s)) AS longest FROM facts, servers)
        WHERE key_ttl_s > longest + 0.5 AND (SELECT live FROM facts) GROUP BY user_id""",
        "online_{user_id}",
        "it still lives for {ttl:.0f} s; a lease has {longest:.0f} s",
        _ENTRIES,
        of="count(DISTINCT user_id) FROM sessions",
        sessions="",
    ),
    check(
        "malformed",
        "warning",
        "A key or field from which nothing can be read.",
        """SELECT TRY_CAST(regexp_extract(key, '\\d+$') AS INTEGER) AS user_id,
            key || coalesce(' ' || field, '') AS subject, reason AS what,
            'SELECT * FROM malformed WHERE key = ''' || replace(key, '''', '''''') || '''' AS look
        FROM malformed
        UNION ALL
        SELECT NULL, 'more', malformed_more || ' more were counted and not kept',
            'SELECT reason, count(*) FROM malformed GROUP BY reason'
        FROM facts WHERE malformed_more > 0""",
        "{subject}",
        "{what}",
        "{look}",
        of="(SELECT count(*) FROM malformed) + (SELECT count(*) FROM sessions)",
        malformed="",
        sessions="",
    ),
    check(
        "future_session",
        "warning",
        "A session reported later than now: its server's clock is ahead, it looks online too long.",
        """SELECT user_id, auth_key_id, session_id, server_id, -age_s AS ahead_s, entry,
            check_s - lease_s AS allowed_s
        FROM sessions, facts WHERE -age_s > allowed_s AND now < 100_000_000_000""",
        "{entry}",
        "reported {ahead_s:.0f} s from now: the clock of server {server_id} is ahead by at least "
        "that; {allowed_s} s are allowed",
        _SERVER,
        sessions="",
    ),
    check(
        "orphan_session",
        "warning",
        "A session of no user in users, or of no auth key in auth_keys, auth_users or auths.",
        """SELECT user_id, auth_key_id, session_id, entry, CASE
            WHEN NOT known_key AND NOT known_user THEN 'user and auth key are'
            WHEN known_key THEN 'user is' ELSE 'auth key is' END AS what
        FROM (
            SELECT *, user_id IN (SELECT id FROM users) AS known_user,
                auth_key_id IN (SELECT auth_id FROM auth_keys UNION ALL
                    SELECT auth_id FROM auth_users UNION ALL SELECT auth_id FROM auths) AS known_key
            FROM sessions
        ) WHERE NOT (known_user AND known_key)""",
        "{entry}",
        "its {what} in no table",
        _ENTRY,
        sessions="",
        users="id",
        auth_keys="auth_id",
        auth_users="auth_id",
        auths="auth_id",
    ),
    check(
        "deleted_user_online",
        "warning",
        "A user who is deleted, and online.",
        """SELECT DISTINCT user_id FROM sessions JOIN users ON users.id = user_id
        WHERE counts AND deleted <> 0""",
        "user {user_id}",
        "is deleted, and has a session that counts",
        _ENTRIES,
        sessions="",
        users="id deleted",
    ),
    check(
        "auth_key_of_another",
        "warning",
        "A session under the auth key on which another user is logged in.",
        """SELECT sessions.user_id, auth_key_id, session_id, entry, max(logged.user_id) AS other
        FROM sessions JOIN auth_users AS logged ON auth_id = auth_key_id
        WHERE counts AND logged.user_id <> 0 GROUP BY ALL
        HAVING count(*) FILTER (logged.user_id = sessions.user_id) = 0""",
        "{entry}",
        "on its auth key user {other} is logged in",
        "SELECT * FROM auth_users WHERE auth_id = {auth_key_id}",
        sessions="",
        auth_users="auth_id user_id",
    ),
    check(
        "lone_server",
        "info",
        "A server id that no other session has: a server that begins or ends, or a wrong id.",
        f"""SELECT server_id, min(user_id) AS user_id, min(entry) AS entry FROM sessions
        WHERE (SELECT count(*) FROM sessions) > {ENOUGH} GROUP BY server_id HAVING count(*) = 1""",
        "server {server_id}",
        "only one session names it: {entry}",
        _SERVER,
        sessions="",
    ),
    check(
        "many_sessions",
        "warning",
        "A user with a hundred sessions or more: a client that logs in again and again.",
        """SELECT user_id, count(*) AS sessions FROM sessions GROUP BY user_id
        HAVING sessions >= 100""",
        "user {user_id}",
        "has {sessions} sessions in Redis",
        _ENTRIES,
        of="count(DISTINCT user_id) FROM sessions",
        sessions="",
    ),
    check(
        "two_countries",
        "info",
        "A user who is online from several countries at once.",
        """SELECT sessions.user_id, string_agg(DISTINCT country, ', ' ORDER BY country) AS countries
        FROM sessions JOIN auth_users ON auth_id = auth_key_id
        WHERE counts AND country <> '' GROUP BY ALL HAVING count(DISTINCT country) > 1""",
        "user {user_id}",
        "is online from {countries}",
        _ENTRIES,
        of="count(DISTINCT user_id) FROM sessions",
        sessions="",
        auth_users="auth_id country",
    ),
)
