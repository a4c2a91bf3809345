#!/bin/sh
# npserver in one file: a shell script and a zip. The first start unpacks it into a directory of the user's, ~/.cache/npserver
# for example; later starts run what is there. Needs Python 3.11 to 3.14.
set -eu

say() { printf 'npserver: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# Where this file really lies, whatever links lead here.
case $0 in
    */*) self=$0 ;;
    *) self=./$0 ;;
esac
while [ -L "$self" ]; do
    link=$(readlink "$self")
    case $link in
        /*) self=$link ;;
        *) self=${self%/*}/$link ;;
    esac
done

# A directory of this user alone: nobody else may put programs there.
is_ours() {
    case $1 in
        /*) ;;
        *) return 1 ;;
    esac
    { [ -d "$1" ] || mkdir -p -m 700 "$1"; } 2>/dev/null && [ ! -L "$1" ] && [ -O "$1" ] && [ -w "$1" ]
}
find_place() {
    [ -d "${HOME-}" ] || HOME=  # /nonexistent of some users stays so
    for place in "${CACHE_DIRECTORY:+${CACHE_DIRECTORY%%:*}}" "${XDG_CACHE_HOME:+$XDG_CACHE_HOME/npserver}" \
        "${HOME:+$HOME/.cache/npserver}" "${TMPDIR:-/tmp}/npserver-cache-$(id -u)"; do
        if is_ours "$place"; then return; fi
    done
    fail "no directory to unpack into: set XDG_CACHE_HOME to one that can be written"
}

# The newest Python by its name; of two, the system's own.
find_python() {
    for name in python3.14 python3.13 python3.12 python3.11 python3; do
        for found in "/usr/bin/$name" "$name"; do
            if command -v "$found" >/dev/null 2>&1 &&
                "$found" -I -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' >/dev/null 2>&1; then
                python=$found
                return
            fi
        done
    done
    fail "Python 3.11 to 3.14 is needed, and none was found: install it from your system's packages or python.org"
}

read_note() {
    [ -r "$unpacked/python" ] && { read -r python && read -r tag; } < "$unpacked/python" && [ -x "$python" ]
}

find_place
unpacked=$place/${self##*/}_@BUILD_ID@
if ! read_note; then
    find_python
    say "unpacking into $place (once)"
    SHIV_ROOT=$place SHIV_ENTRY_POINT=npserver_single:unpacked "$python" -I "$self" || fail "cannot unpack into $place"
    read_note || fail "cannot read $unpacked/python"
fi
packages=$unpacked/site-packages
# Bytecode belongs there, too: without it each start would take twice the time.
PYTHONDONTWRITEBYTECODE='' PYTHONPATH=$packages:$packages/$tag exec "$python" -P -s -S "$packages/npserver/__main__.py" "$@"
exit  # the zip begins
