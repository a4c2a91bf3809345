"""Reports the revocation lists because of which OpenSSL refuses clients that have done nothing wrong.

Called by `tls.compile`, at each start and reload and by `npserver check`.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from npserver.config.report import placed
from npserver.errors import clip
from npserver.tls.named_file import named_file
from npserver.tls.revocation import parse_authorities
from npserver.tls.store import CERTIFICATES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.tls.certificates import LoadedCertificate
    from npserver.tls.config import Tls
    from npserver.tls.revocation import Authority


def check_revocation(
    compilation: Compilation, path: Path, loaded: LoadedCertificate, places: Mapping[str | None, Path]
) -> None:
    """Report what is wrong with the lists of a certificate. `places`: the config's place of each file."""
    report, now, client_ca = compilation.report, datetime.now(UTC), loaded.settings.client_ca
    if client_ca is None or not loaded.revocation_lists:
        return
    authorities = parse_authorities(CERTIFICATES.of(compilation.context).files.read(client_ca))
    strangers = False
    for file, found in loaded.revocation_lists:
        place, name, until, notice_at = places[file], clip(os.path.basename(file)), found.next_update, found.notice_at
        consequence = f"all clients of {clip(found.issuer)} are refused"
        if until is not None and until <= now:
            report.check_error(
                place, f"{name} expired on {until:%Y-%m-%d %H:%M} UTC: {consequence}; fetch its successor"
            )
        elif found.issued > now:
            report.check_error(place, f"{name} is not valid before {found.issued:%Y-%m-%d %H:%M} UTC: {consequence}")
        elif until is not None and notice_at is not None and notice_at <= now:
            report.warn(place, f"{name} expires on {until:%Y-%m-%d %H:%M} UTC: from then on {consequence}")
        if not any(one.is_issuer_of(found) for one in authorities):
            strangers = True
            has_name = found.issuer in {one.name for one in authorities}
            fault = "signed with another key than the authority in" if has_name else "which is not an authority in"
            reason = f"{name} is a list by {clip(found.issuer)}, {fault} 'client_ca'"
            report.warn(place, f"{reason}: it only counts for clients that send this authority's certificate along")
    if not strangers:
        _check_all_have_lists(report, (*path, "client_crl"), authorities, loaded)


def _check_all_have_lists(report: Report, path: Path, authorities: list[Authority], loaded: LoadedCertificate) -> None:
    """Warn of authorities without a list. A root whose intermediates are there, too, issues no client certificates."""
    roots = {one.issuer for one in authorities if one.issuer != one.name}
    for one in authorities:
        if one.name not in roots and not any(one.is_issuer_of(found) for _, found in loaded.revocation_lists):
            report.warn(
                path, f"no list by {clip(one.name)}, an authority in 'client_ca': all of its clients are refused"
            )


def revocation_files(compilation: Compilation, path: Path, entry: Tls) -> list[tuple[Path, str | None]]:
    """Return the files of `client_crl` with their places; None, with an error in the report, for those not readable."""
    place = (*path, "client_crl")
    if not entry.client_crl:
        return []
    if entry.client_ca is None:
        compilation.report.error(
            place, "'client_crl' requires 'client_ca': without it no client certificate is asked for"
        )
        return []
    return [(one, named_file(compilation, one, name)) for one, name in placed(place, entry.client_crl)]
