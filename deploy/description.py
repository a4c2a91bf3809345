"""The README as the description of the distributions, for package indexes, where paths of a checkout lead nowhere."""

from __future__ import annotations

import re

#: Links and images; a link may be an image's.
_LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^()\s]+)\)")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|#")


def describe(readme: str) -> str:
    """Return the text with the paths of links in brackets, as text, and without the images that have a path.

    Links to elsewhere stay, and so does what is shown as code.
    """
    parts = re.split(r"(^```.*?^```$)", readme, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else _LINK.sub(_in_words, part) for part in parts)


def _in_words(link: re.Match[str]) -> str:
    is_image, text, target = link.groups()
    if _ELSEWHERE.match(target):
        return link[0]
    if is_image:
        return ""
    return f"`{target}`" if text == target else f"{text} (`{target}`)"
