"""Internationalized domain names in ASCII, as browsers, curl and dig send them (UTS 46 non-transitional, IDNA 2008).

Unlike the encoding of Python's standard library (IDNA 2003), ß and ς are letters of their own: straße is not strasse.
"""

from __future__ import annotations


def to_ascii(name: str) -> str:
    """Return a host name with each label that is not ASCII as an A-label (`xn--...`); an ASCII name unchanged.

    Labels that UTS 46 allows, but IDNA 2008 does not, are encoded as in browsers: symbols, such as emoji.

    Raises: ValueError with the reason.
    """
    if name.isascii():
        return name
    import idna  # its tables take 25 ms to import; few names need them

    try:
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
        return ".".join([_to_a_label(label) for label in mapped.split(".")])
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError(f"not a valid internationalized domain name: {_plain(str(error))}") from None


def _to_a_label(label: str) -> str:
    if label.isascii():
        return label
    import idna

    try:
        return idna.alabel(label).decode("ascii")
    except idna.InvalidCodepoint:
        idna.check_bidi(label)
        encoded = "xn--" + label.encode("punycode").decode("ascii")
        if len(encoded) > 63:
            raise idna.IDNAError("Label too long") from None
        return encoded


def _plain(reason: str) -> str:
    return reason[:1].lower() + reason[1:]
