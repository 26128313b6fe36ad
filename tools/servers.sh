#!/bin/sh
# Installs what is missing of Debian's redis-server, mariadb-server and chromium. The tests start private instances of
# the servers, and open the pages and JupyterLab in chromium with a profile of its own.
set -eu

missing=
PATH=$PATH:/usr/sbin:/usr/local/sbin
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v mariadbd >/dev/null || missing="$missing mariadb-server"
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
    missing="$missing chromium"
if [ -z "$missing" ]; then
    echo 'redis-server, mariadb-server and chromium are installed.'
    exit 0
fi

as_root=
[ "$(id -u)" -eq 0 ] || as_root=sudo
if ! command -v apt-get >/dev/null; then
    echo "imlib: no apt-get on this system: install$missing with its own package manager" >&2
    exit 1
fi
if [ -n "$as_root" ] && ! command -v sudo >/dev/null; then
    echo "imlib: neither root nor sudo: have an administrator run apt-get install$missing" >&2
    exit 1
fi
$as_root apt-get update --quiet
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends $missing
echo "Installed:$missing. Debian may have started them as services; the tests do not use those."
