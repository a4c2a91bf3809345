"""A small database of countries in MaxMind's format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet


def write_countries(path: Path, networks: dict[str, dict[str, Any]], *, ip_version: int = 6) -> None:
    """Write a database that has a record for each network, whole or not at all."""
    writer = MMDBWriter(ip_version=ip_version, ipv4_compatible=ip_version == 6, database_type="Country")
    for network, record in networks.items():
        writer.insert_network(IPSet([network]), record)
    fresh = path.with_suffix(".new")
    writer.to_db_file(str(fresh))
    os.replace(fresh, path)


def country(code: str) -> dict[str, Any]:
    """Return a record as those of MaxMind."""
    return {"country": {"iso_code": code}}
