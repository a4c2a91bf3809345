"""Block lists of `dns_block`: names that the resolvers are not asked for, and that no answer of theirs leads through.

    list      a file or a URL with names (`list_format`), read by the controller (`service`) into a
    table     of hashes, in memory that all workers map (`table`, `block_list`)
    blocker   one entry of `dns_block`: lists, `allow` and `block`, and the answer for what is blocked (`blocker`)

The name server asks the blocker of a client before its resolvers and their cache, and again about each answer.
"""
