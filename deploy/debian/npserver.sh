#!/bin/sh
# npserver, with the requirements that the package brings for each version of Python.
set -eu
python=$(readlink -f /usr/bin/python3)
packages=/usr/lib/npserver
version=${python##*/python3.}
if [ ! -d "$packages/cp3$version" ]; then
    echo "npserver: this package has no requirements for $python: install a newer one" >&2
    exit 1
fi
PYTHONPATH=$packages:$packages/cp3$version exec "$python" -P -s -S "$packages/npserver/__main__.py" "$@"
