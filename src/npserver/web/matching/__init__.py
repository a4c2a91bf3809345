"""Rules with conditions besides host and path: `match`, `from`, `not`, `path_regex`, and stars within a path."""
