"""What is wrong with a policy is told with file, line and path, and with the cure."""

from pathlib import Path

import pytest

from tests.settings.texts import policy_problems, write

RULE = "rules:\n  - name: a\n    "  # what follows stands on line 3
HOSTED = RULE + "hosts: [x.example]\n    "  # on line 4
GROUPS = "clients:\n  g: {match: [{cidr: 10.0.0.0/8}]}\n  h: {match: [{cidr: 11.0.0.0/8}]}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rulez: []", "1: rulez: unknown key, did you mean 'rules'?"),
        ("x1y2: []", "1: x1y2: unknown key (known keys: clients, mode, quotas, rules, version)"),
        ("version: 2", "1: version: must be 1, not 2"),
        ("version: true", "1: version: must be 1, not true"),
        ("mode: off", "1: mode: must be 'enforce' or 'report', not \"off\""),
        ("mode: [report]", "1: mode: must be 'enforce' or 'report', not a list"),
        ("rules: {}", "1: rules: must be a list, not a mapping"),
        ("rules:", "1: rules: has no value: give it one, or remove the key"),
        ("rules: [x]", '1: rules[0]: must be a mapping, not "x"'),
        ("rules:\n  - hosts: [x.example]", "2: rules[0].name: is required"),
        ("rules:\n  - name: 5\n    hosts: [x.example]", "2: rules[0].name: must be text, not 5"),
        (
            'rules:\n  - name: "a#b"\n    hosts: [x.example]',
            "2: rules[0].name: must be at most 128 printable characters, without # or blanks at its ends",
        ),
        (HOSTED + "prots: [443]", "4: rules[0].prots: unknown key, did you mean 'ports'?"),
        (HOSTED + "action: dney", "4: rules[0].action: must be 'allow' or 'deny', not \"dney\""),
        (HOSTED + "mode: 1", "4: rules[0].mode: must be 'enforce' or 'report', not 1"),
        (HOSTED + "protocol: udp", "4: rules[0].protocol: must be 'tls', 'http', 'auto' or 'tcp', not \"udp\""),
        (HOSTED + "sni: none", "4: rules[0].sni: must be 'match', 'rule' or 'any', not \"none\""),
        (HOSTED + "ech: inner", "4: rules[0].ech: must be 'outer' or 'deny', not \"inner\""),
        (HOSTED + "public_suffix: yes", '4: rules[0].public_suffix: must be true or false, not "yes"'),
        (HOSTED + "note: 3", "4: rules[0].note: must be text, not 3"),
        (HOSTED + "note:", "4: rules[0].note: has no value: give it one, or remove the key"),
        # hosts
        (RULE + "hosts: []", "3: rules[0].hosts: must not be empty"),
        (RULE + "hosts: x.example", '3: rules[0].hosts: must be a list such as [x.example], not "x.example"'),
        (RULE + "hosts: [443]", "3: rules[0].hosts[0]: must be a host name or a pattern as text, not 443"),
        (
            RULE + "hosts: [ok.example, a..b]",
            (
                "3: rules[0].hosts[1]: 'a..b' is not a host name: labels of letters, digits, hyphens and underscores, "
                "with dots between"
            ),
        ),
        (
            RULE + 'hosts: ["*x.example"]',
            "3: rules[0].hosts[0]: '*x.example': a star is alone or the first label, as in \"*.example.com\"",
        ),
        (
            RULE + 'hosts: ["*.*.example"]',
            "3: rules[0].hosts[0]: '*.*.example': a star is alone or the first label, as in \"*.example.com\"",
        ),
        (
            RULE + 'hosts: ["a.*.example"]',
            "3: rules[0].hosts[0]: 'a.*.example': a star is alone or the first label, as in \"*.example.com\"",
        ),
        (
            RULE + "hosts: ['.*\\.example$']",
            (
                "3: rules[0].hosts[0]: '.*\\\\.example$': this is not a regular expression: a star is alone or "
                'the first label, as in "*.example.com"'
            ),
        ),
        (RULE + 'hosts: ["*."]', "3: rules[0].hosts[0]: '' is not a host name: it is empty"),
        (RULE + 'hosts: ["."]', "3: rules[0].hosts[0]: '' is not a host name: it is empty"),
        (RULE + 'hosts: [""]', "3: rules[0].hosts[0]: '' is not a host name: it is empty"),
        (
            RULE + "hosts: [10.0.0.1]",
            "3: rules[0].hosts[0]: '10.0.0.1' is an address: in a rule, addresses go into cidrs",
        ),
        (
            RULE + 'hosts: ["[::1]"]',
            "3: rules[0].hosts[0]: '[::1]' is an address: in a rule, addresses go into cidrs",
        ),
        (RULE + 'hosts: ["::1"]', "3: rules[0].hosts[0]: '::1' is an address: in a rule, addresses go into cidrs"),
        (
            RULE + "hosts: [127.1]",
            "3: rules[0].hosts[0]: must be a host name or a pattern as text, not 127.1",
        ),
        (
            RULE + 'hosts: ["127.1"]',
            (
                "3: rules[0].hosts[0]: '127.1' is not a host name: its last label is a number, as in a spelling "
                "of an address"
            ),
        ),
        (
            RULE + "hosts: [a.0x7f]",
            (
                "3: rules[0].hosts[0]: 'a.0x7f' is not a host name: its last label is a number, as in a spelling "
                "of an address"
            ),
        ),
        (
            RULE + "hosts: [10.0.0.0/8]",
            "3: rules[0].hosts[0]: '10.0.0.0/8' is not a host name: in a rule, networks go into cidrs",
        ),
        (
            RULE + "hosts: [x.example/v1]",
            "3: rules[0].hosts[0]: 'x.example/v1' is not a host name: write it without path",
        ),
        (
            RULE + 'hosts: ["https://x.example/"]',
            "3: rules[0].hosts[0]: 'https://x.example/' is not a host name: write it without scheme and path",
        ),
        (
            RULE + 'hosts: ["x.example:443"]',
            "3: rules[0].hosts[0]: 'x.example:443' is not a host name: in a rule, ports go into ports",
        ),
        (
            RULE + f"hosts: [{'a' * 64}.example]",
            (
                f"3: rules[0].hosts[0]: '{'a' * 64}.example' is not a host name: "
                "labels have at most 63 characters, names 253"
            ),
        ),
        (
            RULE + 'hosts: ["\uff11\uff10.0.0.1"]',
            (
                "3: rules[0].hosts[0]: '\uff11\uff10.0.0.1' is not a host name: its last label is a number, as in a "
                "spelling of an address"
            ),
        ),
        (
            RULE + 'hosts: [{name: "*.x.example", depth: 2}]',
            "3: rules[0].hosts[0]: depth must be 1, not 2: omit it for any depth",
        ),
        (
            RULE + "hosts: [{name: x.example, depth: 1}]",
            "3: rules[0].hosts[0]: depth: 1 is only for a name that begins with \"*.\", not for 'x.example'",
        ),
        (
            RULE + 'hosts: [{name: "*.x.example", deep: 1}]',
            "3: rules[0].hosts[0]: unknown key 'deep': a host is text, or a mapping with name and depth",
        ),
        (
            RULE + "hosts: [{depth: 1}]",
            "3: rules[0].hosts[0]: must be a host name or a pattern as text, not null",
        ),
        (
            RULE + 'hosts: ["*.com"]',
            "3: rules[0].hosts[0]: '*.com' covers a whole public suffix: set public_suffix: true if that is meant",
        ),
        (
            RULE + "hosts: [.co.uk]",
            "3: rules[0].hosts[0]: '.co.uk' covers a whole public suffix: set public_suffix: true if that is meant",
        ),
        (
            RULE + 'hosts: ["*.ck"]',
            "3: rules[0].hosts[0]: '*.ck' covers a whole public suffix: set public_suffix: true if that is meant",
        ),
        # networks
        (RULE + "cidrs: []", "3: rules[0].cidrs: must not be empty"),
        (
            RULE + "cidrs: [10.0.0.1/8]",
            (
                '3: rules[0].cidrs[0]: "10.0.0.1/8" is not a network such as 10.0.0.0/8 or 2001:db8::/32: bits are set '
                "beyond the prefix, did you mean 10.0.0.0/8?"
            ),
        ),
        (
            RULE + 'cidrs: ["2001:db8::1/64"]',
            (
                '3: rules[0].cidrs[0]: "2001:db8::1/64" is not a network such as 10.0.0.0/8 or 2001:db8::/32: bits are '
                "set beyond the prefix, did you mean 2001:db8::/64?"
            ),
        ),
        (
            RULE + "cidrs: [10.0.0.0/33]",
            '3: rules[0].cidrs[0]: "10.0.0.0/33" is not a network such as 10.0.0.0/8 or 2001:db8::/32',
        ),
        (
            RULE + "cidrs: [x.example]",
            '3: rules[0].cidrs[0]: "x.example" is not a network such as 10.0.0.0/8 or 2001:db8::/32',
        ),
        (HOSTED + "within: []", "4: rules[0].within: must not be empty"),
        (HOSTED + "private: []", "4: rules[0].private: must not be empty"),
        # ports
        (HOSTED + "ports: []", "4: rules[0].ports: must not be empty"),
        (HOSTED + "ports: 443", "4: rules[0].ports: must be a list such as [443], not 443"),
        (HOSTED + "ports: [0]", "4: rules[0].ports[0]: 0: ports go from 1 to 65535, ranges from low to high"),
        (
            HOSTED + "ports: [1, 65536]",
            "4: rules[0].ports[1]: 65536: ports go from 1 to 65535, ranges from low to high",
        ),
        (HOSTED + "ports: [90-80]", '4: rules[0].ports[0]: "90-80": ports go from 1 to 65535, ranges from low to high'),
        (HOSTED + "ports: [https]", '4: rules[0].ports[0]: "https" is not a port (443), a range (8000-8100) or any'),
        (HOSTED + "ports: [true]", "4: rules[0].ports[0]: true is not a port (443), a range (8000-8100) or any"),
        # expires, timeouts
        (HOSTED + "expires: 2027-02-30", '4: rules[0].expires: "2027-02-30" is not a calendar day'),
        (HOSTED + "expires: tomorrow", '4: rules[0].expires: "tomorrow" is not a day such as 2027-01-31'),
        (
            HOSTED + "timeouts: {idle: 5}",
            "4: rules[0].timeouts.idle: 5 is not a duration such as 500ms, 2s, 5m, 1h or 7d",
        ),
        (HOSTED + "timeouts: {connect: 0s}", "4: rules[0].timeouts.connect: must be longer than 0"),
        (
            HOSTED + "timeouts: {head: 5s}",
            (
                "4: rules[0].timeouts.head: unknown key (known keys: client_hello, connect, dns, idle, lifetime, "
                "tls_handshake)"
            ),
        ),
        # except
        (HOSTED + "except: {}", "4: rules[0].except: must not be empty"),
        (HOSTED + "except: {hosts: []}", "4: rules[0].except.hosts: must not be empty"),
        (HOSTED + "except: {ports: [1]}", "4: rules[0].except.ports: unknown key, did you mean 'hosts'?"),
        (
            HOSTED + "except: {clients: [nobody]}",
            "4: rules[0].except.clients[0]: the group 'nobody' is not declared",
        ),
        # groups
        ("clients: {g: {}}", "1: clients.g.match: is required"),
        ("clients: {g: {match: []}}", "1: clients.g.match: must not be empty"),
        (
            "clients:\n  g:\n    match:\n      - {}",
            "4: clients.g.match[0]: an empty entry would match everyone: remove it, or say what matches",
        ),
        ("clients: {g: {match: [{user: ''}]}}", '1: clients.g.match[0].user: must be text, not ""'),
        (
            "clients: {g: {match: [{user: null}]}}",
            "1: clients.g.match[0].user: has no value: give it one, or remove the key",
        ),
        (
            "clients: {g: {match: [{service_account: api}]}}",
            "1: clients.g.match[0].service_account: needs namespace in the same entry",
        ),
        (
            "clients: {g: {match: [{labels: {app: x}}]}}",
            "1: clients.g.match[0].labels: needs namespace in the same entry",
        ),
        (
            "clients: {g: {match: [{namespace: n, labels: {}}]}}",
            "1: clients.g.match[0].labels: must not be empty",
        ),
        (
            "clients: {g: {match: [{spiffe: x}]}}",
            '1: clients.g.match[0].spiffe: "x" is not a SPIFFE ID such as "spiffe://cluster.local/ns/payments/sa/api"',
        ),
        (
            'clients: {g: {match: [{spiffe: "spiffe://a/*/b"}]}}',
            (
                "1: clients.g.match[0].spiffe: 'spiffe://a/*/b': a star is the last segment, as in "
                '"spiffe://cluster.local/ns/payments/*"'
            ),
        ),
        ("clients: {g: {match: [{cidr: 1.2.3}]}}", None),
        (HOSTED + "source: here", "4: rules[0].source: must be an address, a list of addresses, or client"),
        (
            HOSTED + "source: [192.0.2.1, client]",
            "4: rules[0].source: must be an address, a list of addresses, or client",
        ),
        (HOSTED + "source: [192.0.2.1, 192.0.2.1]", "4: rules[0].source: names an address twice"),
        (HOSTED + "resolve: client", "4: rules[0].resolve: must be 'gateway' or 'match', not \"client\""),
        (
            GROUPS + RULE + "hosts: [x.example]\n    clients: [G]",
            "7: rules[0].clients[0]: the group 'G' is not declared",
        ),
        (
            "clients: {payments: {match: [{user: u}]}}\n" + HOSTED + "clients: [payment]",
            "5: rules[0].clients[0]: the group 'payment' is not declared, did you mean 'payments'?",
        ),
        (HOSTED + "clients: []", "4: rules[0].clients: must not be empty"),
        # what keys say together
        (RULE + "note: x", "2: rules[0]: needs hosts or cidrs"),
        (
            HOSTED + "action: deny\n    expires: 2030-01-01",
            "5: rules[0].expires: is only for an allow: a deny that expires would open what nobody has allowed",
        ),
        (
            RULE + 'hosts: ["*"]\n    private: [10.0.0.0/8]',
            '4: rules[0].private: is not for a rule with the host "*": name the hosts that are there',
        ),
        (
            RULE + 'hosts: ["*"]\n    protocol: tcp',
            '4: rules[0].protocol: tcp is not for a rule with the host "*": name the hosts',
        ),
        (
            HOSTED + "protocol: tcp\n    inspect: {}",
            "5: rules[0].inspect: is not for protocol: tcp, whose bytes are not looked at",
        ),
        (
            HOSTED + "sni: any\n    inspect: {}",
            "5: rules[0].inspect: is not for sni: any, since an inspected name must be the one that was asked for",
        ),
        (
            HOSTED + "inspect: true",
            (
                "4: rules[0].inspect: must be a mapping (known keys: client_certificate, headers, inspectors, log, "
                "requests, upstream_ca), not true"
            ),
        ),
        (HOSTED + "inspect:", "4: rules[0].inspect: has no value: give it one, or remove the key"),
        (HOSTED + "inspect: {requests: []}", "4: rules[0].inspect.requests: must not be empty"),
        (
            HOSTED + 'inspect: {headers: {set: {Authorization: "Bearer ${secret:key}"}}}',
            "4: rules[0].inspect.headers.set.Authorization: the secret 'key' is not declared in gateway.yaml",
        ),
        (
            HOSTED + "inspect: {upstream_ca: ../ca.pem}",
            "4: rules[0].inspect.upstream_ca: must be inside the policy's directory",
        ),
        # limits
        (
            HOSTED + "limits: [{requests: 5/s}]",
            (
                "4: rules[0].limits[0]: requests are not seen inside TLS or tcp: give the rule inspect, or limit "
                "connections"
            ),
        ),
        (
            "quotas: {q: {requests: 5/s}}\n" + HOSTED + "limits: [{use: q}]",
            (
                "5: rules[0].limits[0]: requests are not seen inside TLS or tcp: give the rule inspect, or limit "
                "connections"
            ),
        ),
        (HOSTED + "limits: [{use: q}]", "4: rules[0].limits[0].use: the quota 'q' is not declared"),
        (
            HOSTED + "limits: [{burst: 5}]",
            (
                "4: rules[0].limits[0]: counts nothing: a limit has exactly one of use, connections, requests, "
                "concurrent, "
                "bandwidth, bytes"
            ),
        ),
        (
            HOSTED + "limits: [{concurrent: 5, bytes: 1GiB/day}]",
            (
                "4: rules[0].limits[0]: has concurrent and bytes: a limit has exactly one of use, connections, "
                "requests, "
                "concurrent, bandwidth, bytes"
            ),
        ),
        (
            "quotas: {q: {concurrent: 5}}\n" + HOSTED + "limits: [{use: q, burst: 2}]",
            "5: rules[0].limits[0].burst: belongs to the quota, not to its use",
        ),
        (
            HOSTED + "limits: [{connections: 5}]",
            "4: rules[0].limits[0].connections: 5 is not a rate such as 50/s, 10/m, 100/h or 5/d",
        ),
        (
            HOSTED + "limits: [{connections: 5/s, max_wait: 1s}]",
            "4: rules[0].limits[0].max_wait: needs on_limit: queue",
        ),
        (
            HOSTED + "limits: [{connections: 5/s, direction: down}]",
            "4: rules[0].limits[0].direction: is only for bandwidth and bytes",
        ),
        (
            HOSTED + "limits: [{bandwidth: 10MB/s}]",
            '4: rules[0].limits[0].bandwidth: "10MB/s" is not a bandwidth such as 512KiB/s or 10MiB/s',
        ),
        (
            HOSTED + "limits: [{bytes: 5GiB/s}]",
            '4: rules[0].limits[0].bytes: "5GiB/s" is not a budget such as 1GiB/hour or 50GiB/day',
        ),
        (
            "quotas: {q: {use: other}}",
            (
                "1: quotas.q.use: unknown key (known keys: bandwidth, burst, bytes, concurrent, connections, "
                "direction, key, max_wait, mode, on_limit, requests)"
            ),
        ),
        (
            "quotas: {q: {}}",
            (
                "1: quotas.q: counts nothing: a limit has exactly one of use, connections, requests, concurrent, "
                "bandwidth, bytes"
            ),
        ),
        (
            "clients: {g: {match: [{user: u}], limits: [{use: q}]}}",
            "1: clients.g.limits[0].use: the quota 'q' is not declared",
        ),
        # names and conflicts
        (
            "rules:\n  - {name: a, hosts: [x.example]}\n  - {name: a, hosts: [y.example]}",
            "3: rules[1].name: the name 'a' is already used on line 2 of this file",
        ),
        (
            "rules:\n  - {name: a, hosts: [x.example]}\n  - {name: b, hosts: [.x.example], ports: [80, 443]}",
            (
                "3: rules[1]: policy.yaml#b allows x.example, as does policy.yaml#a (policy.yaml:2), for the same "
                "clients "
                "and a common port"
            ),
        ),
        (
            GROUPS
            + "rules:\n  - {name: a, clients: [g, h], cidrs: [192.0.2.0/24]}\n"
            + "  - {name: b, clients: [h, g], cidrs: [192.0.2.0/24]}",
            (
                "6: rules[1]: policy.yaml#b allows 192.0.2.0/24, as does policy.yaml#a (policy.yaml:5), for the same "
                "clients and a common port"
            ),
        ),
    ],
)
def test_a_load_error_has_its_place_and_its_reason(text: str, problem: str | None) -> None:
    problems = policy_problems(text)
    if problem is None:
        assert problems
        return
    assert problems == [f"policy.yaml:{problem}"]


def test_everything_that_is_wrong_is_told_in_the_order_of_the_lines() -> None:
    problems = policy_problems(
        """\
        mod: report
        rules:
          - name: a
            ports: [x]
            hosts: [a..b, "*", c/d]
          - hosts: []
        """
    )
    assert [problem.split(": ")[0] + ": " + problem.split(": ")[1] for problem in problems] == [
        "policy.yaml:1: mod",
        "policy.yaml:4: rules[0].ports[0]",
        "policy.yaml:5: rules[0].hosts[0]",
        "policy.yaml:5: rules[0].hosts[2]",
        "policy.yaml:6: rules[1].name",
        "policy.yaml:6: rules[1].hosts",
    ]


def test_an_entry_of_a_list_file_is_refused_with_the_line_in_that_file(tmp_path: Path) -> None:
    write(tmp_path, "hosts.txt", "# names\nfine.example   # yes\n\na..b\n*.com\n")
    write(tmp_path, "nets.txt", "10.0.0.0/8\n10.0.0.1/8\n")
    problems = policy_problems(RULE + "hosts_file: hosts.txt\n    cidrs_file: nets.txt", tmp_path)
    assert [problem.removeprefix(f"{tmp_path}/").split(": ")[0] for problem in problems] == [
        "hosts.txt:4",
        "hosts.txt:5",
        "nets.txt:2",
    ]


def test_an_empty_or_missing_list_file_is_refused_where_it_is_named(tmp_path: Path) -> None:
    write(tmp_path, "empty.txt", "# nothing\n\n")
    problems = policy_problems(RULE + "hosts_file: empty.txt\n    cidrs_file: gone.txt", tmp_path)
    assert problems == [
        f"policy.yaml:3: rules[0].hosts_file: {tmp_path}/empty.txt has no entries",
        f"policy.yaml:4: rules[0].cidrs_file: {tmp_path}/gone.txt cannot be read: No such file or directory",
    ]


def test_star_in_a_list_file_is_a_star(tmp_path: Path) -> None:
    write(tmp_path, "hosts.txt", "*\n")
    assert policy_problems(RULE + "hosts_file: hosts.txt\n    protocol: tcp", tmp_path) == [
        'policy.yaml:4: rules[0].protocol: tcp is not for a rule with the host "*": name the hosts'
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rules: []",
        "clients: {}\nquotas: {}",
        RULE + 'hosts: ["*.com"]\n    public_suffix: true',
        RULE + 'hosts: ["*"]\n    action: deny\n    protocol: tcp',
        HOSTED + "limits: [{requests: 5/s}]\n    protocol: http",
        HOSTED + "limits: [{requests: 5/s}]\n    ports: [80]",
        HOSTED + "limits: [{requests: 5/s}]\n    inspect: {}",
        HOSTED + "ports: any",
        HOSTED + "timeouts: {lifetime: null}",
        GROUPS
        + "rules:\n  - {name: a, clients: [g], hosts: [x.example]}\n  - {name: b, clients: [h], hosts: [x.example]}",
        "rules:\n  - {name: a, hosts: [x.example]}\n  - {name: b, hosts: [x.example], ports: [80]}",
        "rules:\n  - {name: a, hosts: [x.example]}\n  - {name: b, hosts: [x.example], action: deny}",
        "rules:\n  - {name: a, hosts: ['*.x.example']}\n  - {name: b, hosts: [{name: '*.x.example', depth: 1}]}",
    ],
)
def test_what_is_legal_is_taken(text: str) -> None:
    assert policy_problems(text) == []
