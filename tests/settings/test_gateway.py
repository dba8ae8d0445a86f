"""gateway.yaml: the empty file is the documented defaults, and what is wrong is told with its place."""

from pathlib import Path

import pytest

from gateway.model.addresses import Address
from gateway.model.client import IdentitySource
from gateway.model.decision import Timeouts
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import load_settings
from gateway.settings.units import Endpoint
from tests.settings.texts import settings_problems, write

V4_LOOPBACK = Address(4, 0x7F000001)


def test_the_empty_file_gives_the_documented_defaults(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, "gateway.yaml", ""), {})
    (listener,) = settings.listeners
    assert (listener.name, listener.bind, listener.mode) == ("proxy", Endpoint(Address(6, 0), 3128), "explicit")
    assert settings.policy == tmp_path / "policy.yaml"
    assert not settings.policy_is_named
    assert settings.identity.sources == tuple(IdentitySource)
    assert settings.resolver.servers == ("system",)
    assert (settings.resolver.timeout, settings.resolver.cache.max_ttl) == (2.0, 3600.0)
    assert settings.timeouts.over(Timeouts(head=99)) == Timeouts(head=99)
    assert (settings.bounds.head, settings.bounds.client_hello) == (65536, 65536)
    assert [(sink.path, sink.format) for sink in settings.telemetry.access_log] == [("-", "json")]
    assert settings.admin.bind == Endpoint(V4_LOOPBACK, 9128)
    assert (settings.workers, settings.drain.timeout, settings.on_reload) == (1, 30.0, "keep")


def test_the_timeouts_of_the_settings_and_of_the_model_have_the_same_defaults() -> None:
    defaults = GatewaySettings().timeouts
    assert Timeouts(**{name: getattr(defaults, name) for name in type(defaults).model_fields}) == Timeouts()


def test_paths_start_where_the_file_stands(tmp_path: Path) -> None:
    text = """\
        policy: rules
        identity: {basic: {htpasswd: users}}
        admin: {token_file: /run/token}
        telemetry: {access_log: {path: logs/access.json}}
        """
    settings = load_settings(write(tmp_path / "etc", "gateway.yaml", text), {})
    assert settings.policy == tmp_path / "etc/rules"
    assert settings.policy_is_named
    assert settings.identity.basic is not None
    assert settings.identity.basic.htpasswd == tmp_path / "etc/users"
    assert settings.admin.token_file == Path("/run/token")
    assert settings.telemetry.access_log[0].path == tmp_path / "etc/logs/access.json"
    assert settings.files == (tmp_path / "etc/gateway.yaml", tmp_path / "etc/users")


def test_name_servers_have_the_port_of_the_transport_unless_they_say_another(tmp_path: Path) -> None:
    text = 'resolver: {servers: [system, 192.0.2.1, "192.0.2.2:5353", "2001:db8::1", "[2001:db8::2]:54"]}'
    servers = load_settings(write(tmp_path, "gateway.yaml", text), {}).resolver.servers
    assert [str(server) for server in servers] == [
        "system",
        "192.0.2.1:0",
        "192.0.2.2:5353",
        "[2001:db8::1]:0",
        "[2001:db8::2]:54",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("listener: []", "1: listener: unknown key, did you mean 'listeners'?"),
        ("listeners: []", "1: listeners: must not be empty"),
        ("listeners: {bind: x}", "1: listeners: must be a list, not a mapping"),
        (
            "listeners:\n  - bind: localhost:3128",
            '2: listeners[0].bind: "localhost:3128" is not an address and port such as "127.0.0.1:3128" or "[::]:3128"',
        ),
        (
            "listeners: [{bind: '::1:3128'}]",
            '1: listeners[0].bind: "::1:3128" is not an address and port such as "127.0.0.1:3128" or "[::]:3128"',
        ),
        (
            "listeners: [{bind: '127.0.0.1:70000'}]",
            (
                '1: listeners[0].bind: "127.0.0.1:70000" is not an address and port such as "127.0.0.1:3128" or '
                '"[::]:3128"'
            ),
        ),
        (
            "listeners:\n  - {name: a, bind: '127.0.0.1:1'}\n  - {name: a, bind: '127.0.0.1:2'}",
            "3: listeners[1].name: another listener is called 'a' already",
        ),
        (
            "listeners:\n  - {name: a, bind: '127.0.0.1:1'}\n  - {name: b, bind: '127.0.0.1:1'}",
            "3: listeners[1].bind: another listener has 127.0.0.1:1 already",
        ),
        (
            "listeners: [{bind: '127.0.0.1:1'}]\nadmin:\n  bind: '127.0.0.1:2'\n  health: '[::]:1'",
            "4: admin.health: another listener has 127.0.0.1:1 already",
        ),
        ("listeners: [{bind: '0.0.0.0:9128'}]", "1: admin.bind: another listener has 0.0.0.0:9128 already"),
        (
            "listeners: [{mode: udp}]",
            "1: listeners[0].mode: must be 'explicit', 'transparent', 'dns' or 'socks5', not \"udp\"",
        ),
        ("listeners: [{tls: {cert: a}}]", "1: listeners[0].tls.key: is required"),
        (
            "listeners:\n  - mode: transparent\n    proxy_protocol: {trusted: [192.0.2.10/32]}",
            "3: listeners[0].proxy_protocol: is not for mode: transparent, which needs the address clients dialled",
        ),
        ("policy: 5", "1: policy: must be text, not 5"),
        ("policy:", "1: policy: must be text, not null"),
        ("identity: {sources: []}", "1: identity.sources: must not be empty"),
        (
            "identity: {sources: [ldap]}",
            "1: identity.sources[0]: must be 'mtls', 'token', 'basic', 'kubernetes' or 'address', not \"ldap\"",
        ),
        ("identity: {challenge: maybe}", "1: identity.challenge: must be 'auto', 'always' or 'never', not \"maybe\""),
        ("identity: {required: 1}", "1: identity.required: must be true or false, not 1"),
        ("identity: {basic: {htpassword: x}}", "1: identity.basic.htpasswd: is required"),
        (
            "addresses: {allow: [10.1.2.3/8]}",
            (
                '1: addresses.allow[0]: "10.1.2.3/8" is not a network such as 10.0.0.0/8 or 2001:db8::/32: bits are '
                "set "
                "beyond the prefix, did you mean 10.0.0.0/8?"
            ),
        ),
        (
            "cluster: {domains: ['*.local']}",
            "1: cluster.domains[0]: '*.local' is not a host name: only what stands in hosts may have a star",
        ),
        (
            "resolver: {servers: [dns.example]}",
            '1: resolver.servers[0]: "dns.example" is not a name server: system, IP, IP:port or [IPv6]:port',
        ),
        ("resolver: {family: ip4}", "1: resolver.family: must be 'any', 'ipv4' or 'ipv6', not \"ip4\""),
        ("resolver: {cache: {size: 0}}", "1: resolver.cache.size: must be a whole number from 1, not 0"),
        ("resolver: {cache: {min_ttl: 2h}}", "1: resolver.cache.min_ttl: is longer than max_ttl"),
        (
            'secrets: {k: {file: f, hosts: [a.example, "*"]}}',
            '1: secrets.k.hosts[1]: may not be "*": name where it may be sent',
        ),
        (
            'client_certificates: {k: {cert: c, key: k, hosts: ["*"]}}',
            '1: client_certificates.k.hosts[0]: may not be "*": name where it may be sent',
        ),
        ("resolver: {transport: tls}", "1: resolver.transport: must be 'udp', 'dot' or 'doh', not \"tls\""),
        ('resolver: {servers: ["192.0.2.1:0"]}', "1: resolver.servers[0]: a name server does not listen on port 0"),
        (
            "telemetry: {access_log: {path: a.log, layout: istio}}",
            "1: telemetry.access_log[0].layout: is only for format: envoy",
        ),
        (
            "telemetry: {access_log: [{path: a.log, format: envoy, window: 10m}]}",
            "1: telemetry.access_log[0].window: is only for format: vpc",
        ),
        (
            (
                "telemetry:\n  access_log:\n  - {path: a.log}\n  - {path: ./a.log, format: text}\n"
                "  - {}\n  - {path: '-'}\n  - {path: /dev/stdout}\n  - {path: /dev/stdout, format: text}"
            ),
            "4: telemetry.access_log[1].path: another access log is written there: each has its own file",
        ),
        (
            "telemetry: {access_log: [{rotate: {every: day}}]}",
            "1: telemetry.access_log[0].rotate: is not for standard output: whoever reads that can rotate",
        ),
        (
            "telemetry: {access_log: [{path: a.log, rotate: {keep: 3}}]}",
            "1: telemetry.access_log[0].rotate: needs size or every",
        ),
        ("resolver: {tls: {}}", "1: resolver.tls: is only for transport: dot or doh"),
        ("resolver: {transport: dot, path: /x}", "1: resolver.path: is only for transport: doh"),
        (
            "resolver: {transport: doh, path: dns-query}",
            '1: resolver.path: "dns-query" is not the path of a URL such as /dns-query',
        ),
        (
            "resolver: {transport: doh, tls: {server_name: '*.example'}}",
            "1: resolver.tls.server_name: '*.example' is not a host name: only what stands in hosts may have a star",
        ),
        (
            "timeouts:\n  idle: 5",
            "2: timeouts.idle: 5 is not a duration such as 500ms, 2s, 5m, 1h or 7d",
        ),
        ("timeouts: {idle: 0s}", "1: timeouts.idle: must be longer than 0"),
        ("timeouts: {idle: null}", "1: timeouts.idle: null is not a duration such as 500ms, 2s, 5m, 1h or 7d"),
        ("bounds: {head: 64KB}", '1: bounds.head: "64KB" is not a size such as 512B, 64KiB, 10MiB or 1GiB'),
        ("bounds: {head: 65536}", "1: bounds.head: 65536 is not a size such as 512B, 64KiB, 10MiB or 1GiB"),
        (
            "limits: {store: redis}",
            "1: limits.store: must be memory or a redis:// URL (rediss, redis+sentinel, redis+cluster)",
        ),
        (
            "telemetry:\n  access_log:\n    - {format: xml}",
            "3: telemetry.access_log[0].format: must be 'json', 'text', 'envoy', 'squid' or 'vpc', not \"xml\"",
        ),
        (
            "telemetry:\n  access_log: {format: xml}",
            "2: telemetry.access_log[0].format: must be 'json', 'text', 'envoy', 'squid' or 'vpc', not \"xml\"",
        ),
        (
            "admin: {bind: '0.0.0.0:9128'}",
            "1: admin.bind: 0.0.0.0:9128 can be reached from elsewhere, which needs admin.token_file",
        ),
        (
            "admin: {bind: '[::]:9128'}",
            "1: admin.bind: [::]:9128 can be reached from elsewhere, which needs admin.token_file",
        ),
        ("workers: many", '1: workers: must be a whole number or auto, not "many"'),
        ("workers: 0", "1: workers: must be a whole number from 1, not 0"),
        ("workers: 1.5", "1: workers: must be a whole number from 1, not 1.5"),
        ("on_reload: stop", "1: on_reload: must be 'keep', 'drain' or 'close', not \"stop\""),
        ("drain: 30s", '1: drain: must be a mapping (known keys: timeout), not "30s"'),
        ("telemetry: {access_log: stdout}", '1: telemetry.access_log: must be a list, not "stdout"'),
        ("version: '1'", '1: version: must be 1, not "1"'),
    ],
)
def test_an_error_in_the_settings_has_its_place_and_its_reason(tmp_path: Path, text: str, problem: str) -> None:
    expected = [f"gateway.yaml:{problem}"]
    if "htpassword" in text:
        expected.append("gateway.yaml:1: identity.basic.htpassword: unknown key, did you mean 'htpasswd'?")
    assert settings_problems(tmp_path, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "admin: {bind: '127.0.0.9:1'}",
        "admin: {bind: '[::1]:1'}",
        "admin: {bind: '0.0.0.0:1', token_file: /run/token}",
        "admin: {health: '[::]:9129'}",
        "listeners:\n  - {name: a, bind: '127.0.0.1:0'}\n  - {name: b, bind: '127.0.0.1:0'}",
        "telemetry: {access_log: []}",
        "timeouts: {lifetime: 1h, head: 500ms}",
    ],
)
def test_what_is_legal_is_taken(tmp_path: Path, text: str) -> None:
    assert settings_problems(tmp_path, text) == []


@pytest.mark.parametrize("url", ["http://collector:4318", "https://[2001:db8::1]:4318", "https://otlp.example/base/"])
def test_a_collector_is_named_by_its_base_address(tmp_path: Path, url: str) -> None:
    text = f"telemetry: {{otlp: {{endpoint: '{url}', signals: [logs], always_sample: []}}}}"
    settings = load_settings(write(tmp_path, "gateway.yaml", text), {})
    assert settings.telemetry.otlp is not None
    assert (settings.telemetry.otlp.endpoint, settings.telemetry.otlp.signals) == (url, ("logs",))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{endpoint: 'collector:4318'}", 'endpoint: "collector:4318" is not the address of a collector such as'),
        ("{endpoint: 'http://c/?token=s3cret'}", "endpoint: must have no user, password or query: credentials go into"),
        ("{endpoint: 'http://u:s3cret@c'}", "endpoint: must have no user, password or query: credentials go"),
        ("{protocol: udp}", "protocol: "),
        ("{sample: 2}", "sample: must be a number from 0 to 1, not 2"),
        ("{sample: 1%}", 'sample: must be a number from 0 to 1, not "1%"'),
        ("{signals: []}", "signals: "),
        ("{always_sample: [allowed]}", "always_sample[0]: "),
    ],
)
def test_what_is_wrong_about_a_collector_is_said_without_its_secrets(tmp_path: Path, text: str, problem: str) -> None:
    [said] = settings_problems(tmp_path, f"telemetry: {{otlp: {text}}}")
    assert f"telemetry.otlp.{problem}" in said
    assert "s3cret" not in said
