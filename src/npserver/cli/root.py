"""`npserver cert -root`: print the root of the local authority, and how each system is told to trust it."""

from __future__ import annotations

import sys

from npserver.errors import NpserverError, clip
from npserver.store.files import StoreFiles

#: How each kind of root is called, by its word in `-root`: for which names it is, its file, and its name in NSS.
KINDS = {
    "local": ("local names", "npserver-root.crt", "npserver local authority"),
    "other": ("all other names", "npserver-other-root.crt", "npserver local authority, other names"),
}
TRUST = """
trust the root for {names}: put it into a file
  {command} > {file}
and then
  Debian, Ubuntu   sudo cp {file} /usr/local/share/ca-certificates/ && sudo update-ca-certificates
  Fedora, RHEL     sudo cp {file} /etc/pki/ca-trust/source/anchors/ && sudo update-ca-trust
  macOS            sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {file}
  Windows          certutil -addstore -f Root {file}          (as administrator)
  Chromium, Linux  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n "{nickname}" -i {file}
  Firefox          certutil -d sql:PROFILE -A -t C,, -n "{nickname}" -i {file}
                   (PROFILE: about:support, "Profile Directory")
                   certutil is in libnss3-tools on Debian, in nss-tools on Fedora
  curl, once       curl --cacert {file} https://...
"""


def main(words: list[str], usage: str) -> int:
    """Print the roots that `words` name, with a command for each system. Return the exit status."""
    from npserver.tls.local_authority import ROOTS, root_command

    chosen, rest = _split(words)
    try:
        directory = _directory(rest)
        roots = _read_roots(StoreFiles(directory), chosen)
    except LookupError as error:
        print(f"npserver cert: {error.args[0]}\n{usage}", end="", file=sys.stderr)
        return 2
    except NpserverError as error:
        print(f"npserver cert: {error}", file=sys.stderr)
        return 1
    if not roots:
        which = f"root for {KINDS[chosen[0]][0]}" if len(chosen) == 1 else "root"
        cause = '"tls": "internal" for such names' if chosen == ["other"] else 'local names or "tls": "internal"'
        print(
            f"npserver cert: no {which} in {directory}: it is made at the first start of a config with {cause}; "
            "-config FILE or -store DIR name another store",
            file=sys.stderr,
        )
        return 1
    for word, certificate in roots.items():
        print(certificate.decode(), end="", flush=True)
        print(f"this is the root for {KINDS[word][0]}, of the store in {directory}", file=sys.stderr)
    for word in roots:
        names, file, nickname = KINDS[word]
        command = root_command(ROOTS[word], directory)
        print(TRUST.format(names=names, command=command, file=file, nickname=nickname), end="", file=sys.stderr)
    return 0


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the roots to print, which `-root` names, and the words beside it."""
    at = next(index for index, word in enumerate(words) if word in ("-root", "--root"))
    before, after = words[:at], words[at + 1 :]
    if after and after[0] in KINDS:
        return after[:1], before + after[1:]
    return list(KINDS), before + after


def _directory(words: list[str]) -> str:
    """Return the directory of the store. Raises: LookupError for words that are not valid; ConfigError."""
    from npserver.config.document import COMMAND_LINE, Document
    from npserver.config.load import load
    from npserver.config.schema import Config
    from npserver.store.compile import store_directory

    match words:
        case []:
            return store_directory(Document(Config(), COMMAND_LINE))
        case ["-config" | "--config", file]:
            return store_directory(load(file))
        case ["-store" | "--store", directory]:
            return store_directory(Document(Config(store=directory), COMMAND_LINE))
    raise LookupError(f"-root takes local, other, -config FILE or -store DIR, got {clip(' '.join(words))}")


def _read_roots(files: StoreFiles, chosen: list[str]) -> dict[str, bytes]:
    """Return the certificate of each chosen root that there is. Raises: StoreError, AuthorityError."""
    from npserver.tls.local_authority import ROOTS, certificate_of, damaged
    from npserver.tls.x509 import CertificateError

    found = {}
    for word in chosen:
        value = files.read(ROOTS[word])
        if value is not None:
            try:
                found[word] = certificate_of(value)
            except CertificateError as error:
                raise damaged(files.path(ROOTS[word]), str(error)) from error
    return found
