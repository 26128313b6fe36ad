"""What the SQL side of imlib promises, tested on SQLite and on a private MariaDB."""
