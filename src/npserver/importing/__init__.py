"""Configs of other servers, written as ours: `npserver import nginx.conf`.

`directives` reads nginx's files, `server` and `streams` translate their blocks with the help of the others, `draft`
collects the config with comments, and `written` makes its text.
"""
