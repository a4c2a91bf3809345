"""The authorisations of an order (RFC 8555 §7.1.4): which challenge is taken for a name, and what became of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from josepy.jwk import JWK
from msgspec import Struct, convert

from npserver.errors import clip
from npserver.networks import is_ip_address
from npserver.tls.acme.challenges import (
    Challenge,
    Solver,
    is_token,
    key_authorization,
    possible_kinds,
)
from npserver.tls.acme.problems import AcmeError, NameProblem, kind_of, plain


class Identifier(Struct, frozen=True):
    """The name of an authorisation."""

    type: str
    value: str


class Problem(Struct, frozen=True):
    """Why a challenge failed."""

    type: str = "about:blank"
    detail: str = ""


class ChallengeOffer(Struct, frozen=True):
    """A challenge as the CA describes it; of kinds that we do not know, too."""

    type: str = ""
    url: str = ""
    token: str = ""
    error: Problem | None = None


class Authorization(Struct, frozen=True):
    """An authorisation as the CA describes it."""

    status: str
    identifier: Identifier
    challenges: list[ChallengeOffer] = []
    wildcard: bool = False

    @property
    def name(self) -> str:
        """The name as it stands in the order."""
        value = self.identifier.value.lower()
        if self.identifier.type == "ip" and is_ip_address(value):
            return str(ipaddress.ip_address(value))
        return f"*.{value}" if self.wildcard else value


class Pending(Struct, frozen=True):
    """An authorisation that waits for the challenge that was taken."""

    url: str  # of the authorisation
    challenge_url: str
    challenge: Challenge
    name: str


def parse(data: object) -> Authorization:
    """Return an authorisation from its JSON. Raises: msgspec.ValidationError."""
    return convert(data, type=Authorization)


def choose(url: str, found: Authorization, names: Sequence[str], solver: Solver, key: JWK) -> Pending | None:
    """Return the challenge to answer, the first of the solver's that the CA offers; None if the name is valid already.

    Raises: AcmeError if no challenge is left, or for a name that was not ordered.
    """
    name = found.name
    if name not in names:
        raise AcmeError(f"the CA wants to validate {clip(plain(name))}, which was not ordered", kind="malformedAnswer")
    if found.status == "valid":
        return None
    if found.status != "pending":
        raise _failure(name, found)
    possible, usable = possible_kinds(name), list(solver.kinds(name))
    offered = {one.type: one for one in found.challenges if is_token(one.token)}
    for kind in usable:
        if kind in possible and kind.value in offered:
            offer = offered[kind.value]
            answer = key_authorization(offer.token, key.thumbprint())
            return Pending(url, offer.url, Challenge(kind, name.removeprefix("*."), offer.token, answer), name)
    ours = ", ".join(kind.value for kind in usable) or "none"
    theirs = ", ".join(clip(plain(one)) for one in list(offered)[:10]) or "none"
    raise AcmeError(f"{name}: no challenge in common: ours are {ours}, the CA offers {theirs}", kind="noChallenge")


def failed_names(name: str, found: Authorization) -> list[NameProblem]:
    """Return what is wrong with the name of an authorisation that has ended; nothing if it is valid."""
    if found.status == "valid":
        return []
    reasons = [one.error for one in found.challenges if one.error is not None]
    if not reasons:
        return [NameProblem(name, "unauthorized", f"the authorisation is {plain(found.status, 40)}")]
    return [NameProblem(name, kind_of(one.type), plain(one.detail)) for one in reasons[:10]]


def _failure(name: str, found: Authorization) -> AcmeError:
    problems = tuple(failed_names(name, found))
    message = f"the CA could not validate {'; '.join(map(str, problems))}"
    return AcmeError(message, kind=problems[0].kind, detail=problems[0].detail, names=problems)
