#!/bin/sh
# Makes testsite.crt and testsite.key in the working directory: `npserver cert` by its older name. Takes its arguments.
exec "$(dirname -- "$0")/npserver" cert "$@"
