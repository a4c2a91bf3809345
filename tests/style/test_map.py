"""Each module of `src/npserver` has a test that is found by its name, or by the table below.

The test of `a/b.py` is `tests/unit/a/test_b.py`. Where a module is shown at work together with others, by real protocol
classes or by the whole program, `COVERED_BY` names the file; its docstring, or what it or its stage imports, names the
module. Modules that only declare (structs, protocols, constants) need no test.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "npserver"
TESTS = ROOT / "tests"

#: Module to the file that covers it, below `tests/`.
COVERED_BY = {
    "cli.demo": "e2e/test_process_service.py",
    "cli.samples": "e2e/test_process_service.py",
    "cli.standard_streams": "e2e/test_closed_streams.py",
    "cli.hints": "unit/cli/test_arguments.py",
    "cli.serve": "e2e/test_one_liners.py",
    "config.decode": "unit/config/test_load.py",
    "config.extensions": "e2e/test_extending.py",
    "config.identity": "unit/process/test_limits.py",
    "dns.zone.added_texts": "protocols/test_challenges.py",
    "dns.zone.answer": "conformance/test_dns_answers.py",
    "dns.zone.digest": "unit/nameserver/zones/test_overlay.py",
    "dns.zone.lookup": "conformance/test_dns_answers.py",
    "dns.zone.denial": "conformance/test_rfc4035.py",
    "dns.zone.given_denial": "conformance/test_rfc4035_presigned.py",
    "dns.zone.presigned": "conformance/test_rfc4035_presigned.py",
    "dns.zone.redirections": "unit/dns/zone/test_compile.py",
    "dns.zone.signed_responder": "conformance/test_rfc4035.py",
    "dns.zone.signed_transfer": "e2e/test_dnssec_program.py",
    "dns.zone.signing": "conformance/test_rfc4035.py",
    "dns.zone.public_suffix": "unit/dns/zone/test_apexes.py",
    "dns.zone.responder": "conformance/test_dns_answers.py",
    "explain.compiled": "unit/explain/test_web.py",
    "explain.exchange": "unit/explain/test_web.py",
    "forward.datagrams": "protocols/test_forward_sessions.py",
    "forward.messages": "protocols/test_forward_translation.py",
    "forward.postgres": "protocols/test_forward_names.py",
    "forward.session": "protocols/test_forward_sessions.py",
    "forward.stream_router": "protocols/test_forward_names.py",
    "forward.streams": "protocols/test_forward_streams.py",
    "forward.target_connections": "protocols/test_forward_translation.py",
    "forward.target_socket": "protocols/test_forward_sessions.py",
    "forward.waiting_connection": "e2e/test_waiting.py",
    "http.caching": "conformance/test_rfc9111.py",
    "http.conditional": "conformance/test_rfc9110_conditional.py",
    "http.request": "unit/http/test_request_parser.py",
    "limits.byte_account": "unit/web/middleware/bandwidth/test_pace.py",
    "listen.listener": "unit/listen/test_compile.py",
    "listen.acceptor": "unit/listen/test_live_listener.py",
    "listen.stream_acceptor": "unit/listen/test_live_listener.py",
    "listen.datagrams": "protocols/test_forward_sessions.py",
    "listen.first_bytes": "protocols/test_one_shot.py",
    "listen.last_connections": "e2e/test_process_last_connections.py",
    "listen.quic.connection": "protocols/test_http3_server.py",
    "listen.quic.endpoint": "protocols/test_http3_server.py",
    "listen.quic.library": "protocols/test_http3_hostile.py",
    "listen.quic.paths": "protocols/test_http3_flow.py",
    "listen.quic.roles": "protocols/test_http3_hostile.py",
    "listen.quic.send_windows": "protocols/test_http3_priorities.py",
    "listen.quic.transport": "protocols/test_http3_server.py",
    "listen.quic.wake_up": "protocols/test_http3_hostile.py",
    "listen.port_owner": "unit/listen/test_binding.py",
    "listen.proxy_header": "protocols/test_proxy_accept.py",
    "nameserver.aliases.addresses": "unit/nameserver/aliases/test_service.py",
    "nameserver.aliases.compile": "e2e/test_dns_aliases.py",
    "nameserver.blocking.block_list": "unit/nameserver/blocking/test_kept.py",
    "nameserver.blocking.checks": "unit/nameserver/blocking/test_compile.py",
    "nameserver.blocking.service": "e2e/test_dns_block_lists.py",
    "nameserver.dnssec.parent": "protocols/test_dnssec_parent.py",
    "nameserver.dnssec.service": "protocols/test_dnssec_rollover.py",
    "nameserver.dnssec.signer": "protocols/test_dnssec_rollover.py",
    "nameserver.https": "protocols/test_dns_https.py",
    "nameserver.name_server": "unit/nameserver/test_udp.py",
    "nameserver.publish.compile": "unit/nameserver/publish/test_checks.py",
    "nameserver.publish.following": "protocols/test_publish_interfaces.py",
    "nameserver.publish.hosts": "unit/nameserver/publish/test_checks.py",
    "nameserver.publish.plan": "unit/nameserver/publish/test_choice.py",
    "nameserver.publish.records": "e2e/test_publish_program.py",
    "nameserver.publish.service": "protocols/test_publish_interfaces.py",
    "nameserver.publish.state": "unit/nameserver/publish/test_addresses.py",
    "nameserver.publish.zones": "e2e/test_publish_program.py",
    "nameserver.query_processor": "conformance/test_dns_answers.py",
    "nameserver.query_logging": "e2e/test_dns_query_log.py",
    "nameserver.quic.connection": "protocols/test_doq.py",
    "nameserver.quic.query_stream": "protocols/test_doq.py",
    "nameserver.resolver.attempts": "unit/nameserver/resolver/test_question.py",
    "nameserver.resolver.channel": "protocols/test_dns_resolver_streams.py",
    "nameserver.resolver.connection": "protocols/test_dns_resolver_streams.py",
    "nameserver.resolver.https_connection": "protocols/test_dns_resolver_https.py",
    "nameserver.resolver.resolver": "unit/nameserver/resolver/test_question.py",
    "nameserver.resolver.stream_connection": "protocols/test_dns_resolver_streams.py",
    "nameserver.stream": "protocols/test_dns_stream.py",
    "nameserver.stream_front": "protocols/test_dns_stream.py",
    "nameserver.transfers.access": "conformance/test_rfc8945.py",
    "dns.message.data_form": "unit/dns/zone/test_incoming.py",
    "nameserver.transfers.client": "protocols/test_dns_peers.py",
    "nameserver.transfers.hearing": "e2e/test_dns_secondaries.py",
    "nameserver.transfers.notifying": "protocols/test_dns_peers.py",
    "nameserver.transfers.peers": "unit/nameserver/transfers/test_keys.py",
    "nameserver.transfers.secondaries": "e2e/test_dns_secondaries.py",
    "nameserver.transfers.secondary": "e2e/test_dns_secondaries.py",
    "nameserver.zones.config_serials": "e2e/test_dns_config_serials.py",
    "nameserver.zones.elsewhere": "e2e/test_dns_secondaries.py",
    "nameserver.transfers.compile": "unit/nameserver/transfers/test_keys.py",
    "nameserver.udp_query_processor": "unit/nameserver/test_udp.py",
    "nameserver.updates.compile": "e2e/test_dns_updates.py",
    "nameserver.updates.service": "e2e/test_dns_many_updates.py",
    "nameserver.updates.updater": "e2e/test_dns_many_updates.py",
    "nameserver.updates.zone": "conformance/test_dns_updates.py",
    "nameserver.zones.changing_zone": "unit/nameserver/zones/test_overlay.py",
    "nameserver.zones.history": "unit/nameserver/zones/test_overlay.py",
    "nameserver.zones.messages": "e2e/test_dns_zones.py",
    "nameserver.zones.publisher": "e2e/test_dns_zones.py",
    "nameserver.zones.replica": "e2e/test_dns_zones.py",
    "nameserver.zones.service": "e2e/test_dns_zones.py",
    "runtime.signed_zone_states": "protocols/test_dnssec_rollover.py",
    "runtime.zone_states": "e2e/test_dns_zones.py",
    "nameserver.views": "unit/nameserver/test_compile.py",
    "net.connect": "unit/net/test_socket_stream.py",
    "net.datagram_link": "protocols/test_forward_sessions.py",
    "net.poller": "unit/net/test_socket_stream.py",
    "net.relay": "protocols/test_relay.py",
    "net.relay_end": "protocols/test_relay.py",
    "net.splice": "protocols/test_relay.py",
    "observe.line_log": "unit/observe/test_access_log.py",
    "observe.log_file": "unit/observe/test_access_log.py",
    "observe.log_formats": "unit/observe/test_access_log.py",
    "process.child": "e2e/test_process_lifecycle.py",
    "process.children": "e2e/test_process_lifecycle.py",
    "process.control_server": "e2e/test_process_reload.py",
    "process.control_socket": "e2e/test_process_reload.py",
    "process.data_plane": "protocols/test_one_shot.py",
    "process.dry_run": "unit/tls/test_compile.py",
    "process.explaining": "unit/explain/test_engine.py",
    "process.master": "e2e/test_process_lifecycle.py",
    "process.reload_outcome": "e2e/test_process_reload.py",
    "process.signals": "e2e/test_process_signals.py",
    "process.single_process": "e2e/test_process_lifecycle.py",
    "process.title": "e2e/test_process_lifecycle.py",
    "program.compile": "protocols/test_one_shot.py",
    "program.runtime": "e2e/test_process_reload.py",
    "runtime.compilation": "unit/listen/test_compile.py",
    "runtime.public_addresses": "unit/web/handlers/status/test_addresses.py",
    "tls.accept": "protocols/test_tls.py",
    "tls.acme.client.account": "protocols/acme/test_orders.py",
    "tls.acme.answering.answers": "protocols/test_challenges.py",
    "tls.acme.answering.attempt": "protocols/acme/test_manager.py",
    "tls.acme.client.authorization": "protocols/acme/test_faulty_ca.py",
    "tls.acme.config": "unit/tls/acme/test_compile.py",
    "tls.acme.dns.compile": "unit/tls/acme/test_compile.py",
    "tls.acme.dns.zone_use": "unit/tls/acme/test_compile.py",
    "tls.acme.client.acme_client": "protocols/acme/test_orders.py",
    "tls.acme.clock_jumps": "protocols/acme/test_manager_trouble.py",
    "tls.acme.manager": "protocols/acme/test_manager.py",
    "tls.acme.on_demand.answerable": "protocols/acme/test_on_demand_names.py",
    "tls.acme.on_demand.consent": "protocols/acme/test_on_demand.py",
    "tls.acme.on_demand.counts": "protocols/acme/test_on_demand.py",
    "tls.acme.on_demand.keeper": "protocols/acme/test_on_demand_names.py",
    "tls.acme.on_demand.questions": "protocols/acme/test_on_demand.py",
    "tls.acme.on_demand.server_tls": "protocols/acme/test_on_demand_memory.py",
    "tls.acme.on_demand.waits": "protocols/acme/test_on_demand.py",
    "tls.acme.dns.updater": "protocols/acme/test_dns_updater.py",
    "tls.acme.reach": "unit/tls/acme/test_compile.py",
    "tls.acme.service": "e2e/test_acme_program.py",
    "tls.acme.settings": "unit/tls/acme/test_problems.py",
    "tls.acme.answering.solver": "protocols/acme/test_manager.py",
    "tls.acme.stored_states": "protocols/acme/test_manager_trouble.py",
    "tls.acme.state": "protocols/acme/test_manager.py",
    "tls.acme.client.transport": "protocols/acme/test_faulty_ca.py",
    "tls.certificates": "protocols/test_tls.py",
    "tls.combination": "protocols/test_tls_key_types.py",
    "tls.der": "unit/tls/test_revocation.py",
    "tls.named_file": "unit/tls/test_compile.py",
    "tls.store": "e2e/test_tls_workers.py",
    "tls.stream": "protocols/test_tls_streams.py",
    "tls.watch": "protocols/test_tls_streams.py",
    "upstream.check_request": "protocols/test_health_checks.py",
    "upstream.fastcgi": "conformance/test_fastcgi_responses.py",
    "upstream.grpc_check": "protocols/test_grpc_health_checks.py",
    "upstream.health_checks": "protocols/test_health_checks.py",
    "upstream.http2.connection": "protocols/test_http2_upstream.py",
    "upstream.http2.dialing": "protocols/test_http2_upstream.py",
    "upstream.http2.pool": "protocols/test_http2_upstream.py",
    "upstream.http2.liveness": "protocols/test_http2_upstream.py",
    "upstream.http2.outcomes": "protocols/test_http2_upstream_failures.py",
    "upstream.http2.session": "protocols/test_http2_upstream.py",
    "upstream.http2.settings": "protocols/test_http2_upstream.py",
    "upstream.http2.tunnel": "protocols/test_http2_upstream_tunnel.py",
    "upstream.http2.stream": "protocols/test_http2_upstream.py",
    "web.handlers.proxy.resend": "protocols/test_http2_upstream_failures.py",
    "upstream.http1": "conformance/test_rfc9112_responses.py",
    "upstream.target": "unit/upstream/test_group.py",
    "web.challenges": "protocols/test_challenges.py",
    "web.compile_route": "unit/web/test_compile.py",
    "web.checks": "unit/web/test_compile.py",
    "web.client_certificate": "protocols/test_tls_client_variables.py",
    "web.compression": "protocols/test_static_compressing.py",
    "web.exchange": "protocols/test_middleware.py",
    "cli.ban": "unit/cli/test_bans.py",
    "cli.unban": "unit/cli/test_bans.py",
    "network_sets.ban_service": "protocols/test_bans.py",
    "network_sets.commands": "e2e/test_bans_program.py",
    "network_sets.events": "protocols/test_bans.py",
    "network_sets.learning": "protocols/test_bans.py",
    "web.scan_watch": "protocols/test_bans.py",
    "network_sets.service": "protocols/test_network_sets.py",
    "network_sets.sets": "protocols/test_network_sets.py",
    "network_sets.states": "protocols/test_network_sets.py",
    "network_sets.stored": "unit/network_sets/test_source.py",
    "sources.compile": "unit/network_sets/test_compile.py",
    "sources.following": "protocols/test_network_sets.py",
    "sources.source": "unit/network_sets/test_source.py",
    "sources.states": "protocols/test_network_sets.py",
    "web.handlers.status.signed_zones": "protocols/test_dnssec_rollover.py",
    "web.handlers.status.zones": "e2e/test_dns_secondaries.py",
    "web.handlers.status.data_states": "protocols/test_network_sets.py",
    "web.matching.conditions": "protocols/test_matching.py",
    "web.matching.front": "protocols/test_matching.py",
    "web.matching.router": "protocols/test_matching.py",
    "web.handlers.fastcgi.call": "protocols/test_fastcgi.py",
    "web.handlers.fastcgi.gateway": "protocols/test_fastcgi.py",
    "web.handlers.fastcgi.handler": "protocols/test_fastcgi.py",
    "web.handlers.kinds": "unit/program/test_kinds.py",
    "web.handlers.proxy.buffered_upload": "protocols/test_proxy_buffering.py",
    "web.handlers.proxy.cache.answer": "protocols/test_cache.py",
    "web.handlers.proxy.cache.claim": "unit/web/handlers/proxy/cache/test_store.py",
    "web.handlers.proxy.cache.entry": "unit/web/handlers/proxy/cache/test_store.py",
    "web.handlers.proxy.cache.fill": "protocols/test_cache.py",
    "web.handlers.proxy.cache.fill_body": "protocols/test_cache.py",
    "web.handlers.proxy.cache.fill_exchange": "protocols/test_cache.py",
    "web.handlers.proxy.cache.handler": "protocols/test_cache.py",
    "web.handlers.proxy.cache.passed": "protocols/test_cache.py",
    "web.handlers.proxy.cache.reader": "protocols/test_cache.py",
    "web.handlers.proxy.cache.response_head": "protocols/test_cache.py",
    "web.handlers.proxy.cache.service": "e2e/test_cache_program.py",
    "web.handlers.proxy.cache.tidy": "unit/web/handlers/proxy/cache/test_store.py",
    "web.handlers.proxy.cache.wanted": "protocols/test_cache.py",
    "web.handlers.proxy.call": "protocols/test_proxy_answers.py",
    "web.handlers.proxy.direct": "protocols/test_proxy_plain_requests.py",
    "web.handlers.proxy.handler": "protocols/test_proxy_requests.py",
    "web.handlers.proxy.proxy": "protocols/test_proxy_requests.py",
    "web.handlers.proxy.references": "protocols/test_proxy_webdav.py",
    "web.handlers.proxy.refused_upgrade": "protocols/test_proxy_upgrade.py",
    "web.handlers.proxy.connect": "protocols/test_proxy_trouble.py",
    "web.handlers.proxy.response_buffer": "protocols/test_proxy_buffering_responses.py",
    "web.handlers.proxy.tunnel": "protocols/test_proxy_upgrade.py",
    "web.handlers.proxy.upload": "protocols/test_proxy_requests.py",
    "web.handlers.proxy.general_handler": "e2e/test_split_mirror.py",
    "web.handlers.proxy.mirror": "e2e/test_split_mirror.py",
    "web.handlers.proxy.split": "e2e/test_split_mirror.py",
    "web.handlers.proxy.timed_call": "protocols/test_proxy_timing.py",
    "web.handlers.proxy.waiting_call": "e2e/test_waiting.py",
    "web.handlers.redirect.compile": "unit/web/test_compile.py",
    "web.handlers.respond.compile": "unit/web/test_compile.py",
    "web.handlers.static.byte_ranges": "conformance/test_rfc9110_ranges.py",
    "web.handlers.static.compile": "unit/web/test_compile.py",
    "web.handlers.static.files": "protocols/test_static_changes.py",
    "web.handlers.static.handler": "conformance/test_rfc9110_static.py",
    "web.handlers.static.listing": "protocols/test_listing.py",
    "web.handlers.static.located": "unit/explain/test_handlers.py",
    "web.handlers.static.root": "protocols/test_static_paths.py",
    "web.handlers.static.validators": "protocols/test_static_validators.py",
    "web.handlers.status.compile": "unit/web/test_compile.py",
    "web.middleware.basic_auth.compile": "unit/web/test_compile.py",
    "web.middleware.max_requests.limit": "e2e/test_max_requests.py",
    "web.rule_names": "unit/web/middleware/max_requests/test_compile.py",
    "web.server.exchange_peer": "protocols/test_middleware.py",
    "web.server.bytes_source": "e2e/test_bandwidth.py",
    "web.middleware.rate_limit.compile": "unit/limits/test_compile.py",
    "web.middleware.basic_auth.password_file": "e2e/test_password_files.py",
    "web.middleware.basic_auth.check": "protocols/test_http_rules.py",
    "web.middleware.compress.compile": "unit/web/test_compile.py",
    "web.middleware.forward_auth.check": "protocols/test_sign_in_server.py",
    "web.middleware.forward_auth.question": "protocols/test_sign_in_server.py",
    "web.middleware.forward_auth.request_head": "protocols/test_sign_in_server.py",
    "web.middleware.cors.compile": "unit/web/test_compile.py",
    "web.middleware.headers.compile": "unit/web/test_compile.py",
    "web.middleware.maintenance.compile": "unit/web/test_compile.py",
    "web.middleware.security_headers.compile": "unit/web/test_compile.py",
    "web.middleware.networks.compile": "unit/web/test_compile.py",
    "web.middleware.jwt.check": "protocols/test_sign_in_tokens.py",
    "web.middleware.jwt.key_source": "protocols/test_sign_in_tokens.py",
    "web.grpc_status": "e2e/test_grpc_program.py",
    "web.http_upstream": "unit/web/middleware/forward_auth/test_compile.py",
    "web.signed_in": "protocols/test_sign_in_server.py",
    "web.server.client_connection": "protocols/test_http_connection.py",
    "web.server.exchange_base": "protocols/test_http_connection.py",
    "web.server.http1.connection": "protocols/test_http_connection.py",
    "web.server.http1.exchange": "protocols/test_http_connection.py",
    "web.server.http1.prior_knowledge": "e2e/test_http2_without_tls.py",
    "web.server.http1.one_shot": "protocols/test_one_shot.py",
    "web.server.http1.request_body": "conformance/test_rfc9112_requests.py",
    "web.server.http1.response": "protocols/test_http_connection.py",
    "web.server.http1.sendfile": "protocols/test_sendfile.py",
    "web.server.http2.connection": "protocols/test_http2_connection.py",
    "net.tunnel_transport": "protocols/test_http2_tunnel.py",
    "web.server.stream_connection": "protocols/test_http2_connection.py",
    "web.server.http2.stream_transport": "protocols/test_http2_tunnel.py",
    "http.extended_connect": "protocols/test_http2_tunnel.py",
    "http.http2_allowance": "protocols/test_http2_flow.py",
    "web.server.http2.exchange": "protocols/test_http2_flow.py",
    "web.server.file_source": "protocols/test_http2_flow.py",
    "web.server.http2.request_body": "protocols/test_http2_flow.py",
    "web.server.http2.unread": "protocols/test_http2_flow.py",
    "web.server.http2.response_head": "protocols/test_proxy_plain_streams.py",
    "web.server.http3.client_streams": "protocols/test_http3_hostile.py",
    "web.server.http3.connection": "protocols/test_http3_server.py",
    "web.server.http3.exchange": "protocols/test_http3_server.py",
    "web.server.http3.front": "protocols/test_http3_server.py",
    "web.server.http3.incomplete_heads": "protocols/test_http3_flow.py",
    "web.server.http3.request_stream": "unit/web/server/http3/test_frames.py",
    "web.server.http3.responses": "protocols/test_http3_priorities.py",
    "web.server.http3.sections": "unit/web/server/http3/test_frames.py",
    "web.server.http3.send_queue": "protocols/test_http3_priorities.py",
    "web.server.http3.session": "protocols/test_http3_hostile.py",
    "web.server.http2.session": "conformance/test_rfc9113_frames.py",
    "web.server.refusals": "e2e/test_refusals_are_logged.py",
    "web.server.request_body": "protocols/test_http2_flow.py",
    "web.slash_redirect": "protocols/test_slash_redirect.py",
}


def is_declaration(path: Path) -> bool:
    """Whether a module has no function with a body: only structs, protocols and constants."""
    for node in ast.walk(ast.parse(path.read_text())):
        body = node.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else []
        if not all(isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in body):
            return False
    return True


def unit_test_of(module: str) -> Path:
    """Return where the test of a module lies unless the table says otherwise."""
    *folders, name = module.split(".")
    return TESTS.joinpath("unit", *folders, f"test_{name}.py")


@cache
def text_of(file: Path) -> str:
    """Return a test file's text and that of the stage that it imports."""
    text = file.read_text()
    stage = set(re.findall(r"^\s*from (tests\.[\w.]+) import", text, re.MULTILINE))
    return text + "".join(text_of(ROOT / f"{one.replace('.', '/')}.py") for one in sorted(stage))


def names(text: str, module: str) -> bool:
    """Whether a text has the dotted name of a module, in a docstring or an import."""
    package, _, name = module.rpartition(".")
    imported = rf"from npserver\.{re.escape(package)} import [^\n]*\b{name}\b"
    return bool(re.search(rf"(?<![\w]){re.escape(module)}(?!\.?\w)|{imported}", text))


MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts): path
    for path in sorted(SOURCE.rglob("*.py"))
    if not path.name.startswith("__")
}


def untested() -> Iterator[str]:
    for module, path in MODULES.items():
        if not (module in COVERED_BY or unit_test_of(module).exists() or is_declaration(path)):
            expected = unit_test_of(module).relative_to(ROOT)
            yield f"{module} has no test: write {expected}, or name the file that covers it in COVERED_BY"


def test_every_module_has_a_test() -> None:
    assert list(untested()) == []


def wrong_entries() -> Iterator[str]:
    for module, file in COVERED_BY.items():
        if module not in MODULES:
            yield f"there is no module {module} any more: take it off COVERED_BY"
        elif unit_test_of(module).exists():
            yield f"{module} has a test of its own: take it off COVERED_BY"
        elif not (TESTS / file).exists():
            yield f"{module}: there is no tests/{file}"
        elif not names(text_of(TESTS / file), module):
            yield f"tests/{file} does not name {module}: say so in its docstring"


def test_the_table_names_tests_of_modules_that_exist() -> None:
    assert list(wrong_entries()) == []


def test_each_unit_test_is_the_test_of_a_module() -> None:
    tests = set((TESTS / "unit").rglob("test_*.py"))
    assert tests - {unit_test_of(module) for module in MODULES} == set()
