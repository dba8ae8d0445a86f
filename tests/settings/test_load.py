"""From paths to settings and policy: what is read, from where, and what happens when it is not there."""

import os
from pathlib import Path

import bcrypt
import pytest

from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import (
    LoadedPolicy,
    load_policy,
    load_resolver_authorities,
    load_settings,
    load_users,
    with_policy,
)
from gateway.settings.problems import ConfigErrors
from tests.helpers.authority import TestAuthority
from tests.settings.texts import write

ONE_RULE = "rules: [{name: a, hosts: [x.example]}]"
HASH = bcrypt.hashpw(b"secret", b"$2b$04$" + b"kPBRLOVUvUTijV0loTK6ae").decode()  # one salt: test names hold it


def load(path: Path) -> LoadedPolicy:
    return load_policy(with_policy(GatewaySettings(), path))


def names(loaded: LoadedPolicy) -> list[str]:
    return [rule.ref.name for rule in loaded.policy.rules]


def test_without_a_file_here_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(None, {}).admin.bind.port == 9128


def test_a_file_here_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "gateway.yaml", "admin: {bind: '127.0.0.1:7'}")
    assert load_settings(None, {}).admin.bind.port == 7


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"gone.yaml: cannot be read: No such file or directory"):
        load_settings(tmp_path / "gone.yaml", {})


def test_no_policy_at_the_default_path_denies_everything_with_one_warning(tmp_path: Path) -> None:
    loaded = load_policy(load_settings(write(tmp_path, "gateway.yaml", ""), {}))
    assert loaded.policy.rules == ()
    assert loaded.warnings == (f"{tmp_path}/policy.yaml: there is no policy, everything is denied",)
    assert loaded.files == {tmp_path / "policy.yaml": None}


def test_a_file_of_the_other_kind_is_one_problem_that_says_how_it_is_named(tmp_path: Path) -> None:
    gateway = write(tmp_path, "gateway.yaml", "version: 1\nadmin: {bind: '127.0.0.1:7'}\nworkers: 1")
    policy = write(tmp_path, "policy.yaml", f"version: 1\n{ONE_RULE}")
    with pytest.raises(ConfigErrors) as refusal:
        load(gateway)
    assert str(refusal.value) == f"{gateway}:2: admin: is a key of gateway.yaml, which -c names, not of a policy"
    with pytest.raises(ConfigErrors) as refusal:
        load_settings(policy, {})
    assert str(refusal.value) == f"{policy}:2: rules: is a key of a policy, which --policy names, not of gateway.yaml"


def test_a_file_with_keys_of_both_kinds_is_taken_for_what_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="admin: unknown key"):
        load(write(tmp_path, "policy.yaml", f"admin: {{}}\n{ONE_RULE}"))


@pytest.mark.parametrize("text", ["", "version: 1", "rules: []"])
def test_a_policy_without_a_rule_denies_everything_with_one_warning(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "policy.yaml", text)
    assert load(path).warnings == (f"{path}: has no rules, everything is denied",)


def test_an_empty_policy_in_report_mode_is_not_told_to_deny(tmp_path: Path) -> None:
    path = write(tmp_path, "policy.yaml", "mode: report\nrules: []")
    assert load(path).warnings == (f"{path}: has no rules, report mode lets everything pass",)


def test_a_named_policy_that_is_missing_is_an_error(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, "gateway.yaml", "version: 1\npolicy: policy.yaml"), {})
    with pytest.raises(ConfigErrors) as refusal:
        load_policy(settings)
    file = tmp_path / "gateway.yaml"
    expected = f"{file}:2: policy: {tmp_path}/policy.yaml cannot be read: No such file or directory"
    assert str(refusal.value) == expected


def test_a_policy_on_the_command_line_goes_before_the_files(tmp_path: Path) -> None:
    here = write(tmp_path, "elsewhere/mine.yaml", ONE_RULE)
    settings = load_settings(write(tmp_path, "gateway.yaml", "policy: policy.yaml"), {}, here)
    assert names(load_policy(settings)) == ["mine.yaml#a"]


def test_a_missing_policy_on_the_command_line_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"^--policy: \S+/gone cannot be read"):
        load(tmp_path / "gone")


def test_a_policy_that_is_there_needs_no_warning(tmp_path: Path) -> None:
    write(tmp_path, "policy.yaml", ONE_RULE)
    loaded = load_policy(load_settings(write(tmp_path, "gateway.yaml", ""), {}))
    assert (names(loaded), loaded.warnings) == (["policy.yaml#a"], ())


def test_a_directory_is_one_policy_in_the_order_of_its_names(tmp_path: Path) -> None:
    write(tmp_path, "b.yaml", "rules: [{name: a, clients: [g], hosts: [y.example]}]")
    write(tmp_path, "a.yaml", "clients: {g: {match: [{user: u}]}}\n" + ONE_RULE)
    write(tmp_path, ".hidden.yaml", "rules: [{name: z, hosts: [z.example]}]")
    write(tmp_path, "notes.txt", "not a policy")
    loaded = load(tmp_path)
    assert names(loaded) == ["a.yaml#a", "b.yaml#a"]
    assert loaded.policy.rules[1].ref.file == f"{tmp_path}/b.yaml"
    assert loaded.warnings == ()
    assert list(loaded.files) == [tmp_path, tmp_path / "a.yaml", tmp_path / "b.yaml"]


def test_a_file_whose_name_no_record_could_hold_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xe9quipe.yaml")).write_text("version: 1\n")
    with pytest.raises(ConfigErrors, match=r"\\udce9quipe.yaml': the name of a policy file must be printable UTF-8"):
        load(tmp_path)


def test_files_of_a_directory_that_are_not_read_are_named(tmp_path: Path) -> None:
    write(tmp_path, "a.yml", ONE_RULE)
    write(tmp_path, "sub/b.yaml", ONE_RULE)
    assert [warning.split(": ")[0] for warning in load(tmp_path).warnings] == [
        str(tmp_path),
        f"{tmp_path}/a.yml",
        f"{tmp_path}/sub",
    ]


def test_what_is_wrong_in_several_files_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "rules: [{name: a}, {nam: b}]")
    write(tmp_path, "b.yaml", "a: [")
    write(tmp_path, "c.yaml", "x: 1")
    with pytest.raises(ConfigErrors) as refusal:
        load(tmp_path)
    places = [str(problem).removeprefix(f"{tmp_path}/").split(": ")[0] for problem in refusal.value.problems]
    assert places == ["a.yaml:1", "a.yaml:1", "b.yaml:2", "c.yaml:1"]


def test_a_mounted_configmap_is_read_through_the_link_that_is_swapped(tmp_path: Path) -> None:
    mount = tmp_path / "policy"
    write(mount, "..2030_01/a.yaml", "rules: [{name: old, hosts_file: list.txt}]")
    write(mount, "..2030_01/list.txt", "old.example")
    write(mount, "..2030_02/a.yaml", "rules: [{name: new, hosts_file: list.txt}]")
    write(mount, "..2030_02/list.txt", "new.example")
    (mount / "..data").symlink_to("..2030_01")
    (mount / "a.yaml").symlink_to("..data/a.yaml")
    (mount / "list.txt").symlink_to("..data/list.txt")
    old = load(mount)
    (mount / "..tmp").symlink_to("..2030_02")
    (mount / "..tmp").rename(mount / "..data")
    new = load(mount)
    assert [names(old), names(new)] == [["a.yaml#old"], ["a.yaml#new"]]
    assert [rule.hosts[0].name for rule in (*old.policy.rules, *new.policy.rules)] == ["old.example", "new.example"]
    assert new.policy.rules[0].ref.file == f"{mount}/a.yaml"


def test_every_file_that_was_read_is_remembered(tmp_path: Path) -> None:
    write(tmp_path, "list.txt", "a.example")
    path = write(tmp_path, "policy.yaml", "rules: [{name: a, hosts_file: list.txt}]")
    assert list(load(path).files) == [path, tmp_path / "list.txt"]


def test_a_byte_order_mark_is_no_part_of_the_text_and_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + ONE_RULE.encode())
    assert names(load(path)) == ["policy.yaml#a"]
    path.write_bytes(b"rules: []\n# caf\xe9\n")
    with pytest.raises(ConfigErrors, match=r"policy.yaml: is not UTF-8 text: see line 2$"):
        load(path)


def test_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.settings.source.files.MAX_BYTES", 10)
    with pytest.raises(ConfigErrors, match=r"policy.yaml: is larger than"):
        load(write(tmp_path, "policy.yaml", ONE_RULE))


def users_of(directory: Path, text: str) -> dict[str, bytes]:
    write(directory, "users", text)
    settings = load_settings(write(directory, "gateway.yaml", "identity: {basic: {htpasswd: users}}"), {})
    return dict(load_users(settings))


def test_users_are_read_with_their_hashes(tmp_path: Path) -> None:
    users = users_of(tmp_path, f"# people\nalice:{HASH}\n\nbob:{HASH.replace('$2b$', '$2y$')}\r\n")
    assert users == {"alice": HASH.encode(), "bob": HASH.replace("$2b$", "$2y$").encode()}
    assert bcrypt.checkpw(b"secret", users["bob"])


def test_without_basic_there_are_no_users() -> None:
    assert load_users(GatewaySettings()) == {}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "alice:$apr1$abcdefgh$0123456789abcdefghijkl",
            "user 'alice' has no bcrypt hash: only bcrypt is accepted, make one with htpasswd -B",
        ),
        ("alice:secret", "user 'alice' has no bcrypt hash: only bcrypt is accepted, make one with htpasswd -B"),
        ("alice", "user 'alice' has no bcrypt hash: only bcrypt is accepted, make one with htpasswd -B"),
        (
            "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "user 'alice' has no bcrypt hash: only bcrypt is accepted, make one with htpasswd -B",
        ),
        (
            "alice:" + HASH.replace("$04$", "$31$"),
            "user 'alice' has a bcrypt cost of 31: only 4 to 14 are accepted, as every log-in pays it",
        ),
        (":" + HASH, "user '' is not a user name: a line is user:hash"),
        ("bob:" + HASH, "user 'bob' is named twice"),
    ],
)
def test_a_user_that_cannot_be_taken_is_named_without_the_hash(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(ConfigErrors) as refusal:
        users_of(tmp_path, f"bob:{HASH}\n{line}\n")
    assert str(refusal.value) == f"{tmp_path}/users:2: {problem}"


def test_a_missing_file_of_users_is_an_error_where_it_is_named(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, "gateway.yaml", "identity:\n  basic: {htpasswd: gone}"), {})
    with pytest.raises(ConfigErrors) as refusal:
        load_users(settings)
    file = tmp_path / "gateway.yaml"
    assert str(refusal.value) == (
        f"{file}:2: identity.basic.htpasswd: {tmp_path}/gone cannot be read: No such file or directory"
    )


def authorities(folder: Path, content: str | None) -> str | None:
    if content is not None:
        (folder / "ca.pem").write_text(content)
    write(folder, "gateway.yaml", "resolver:\n  transport: dot\n  tls: {ca: ca.pem}\n")
    return load_resolver_authorities(load_settings(folder / "gateway.yaml", {}))


def test_authorities_for_name_servers_are_read_and_watched(tmp_path: Path) -> None:
    pem = TestAuthority(tmp_path).bundle.read_text()
    assert authorities(tmp_path, pem) == pem
    assert tmp_path / "ca.pem" in load_settings(tmp_path / "gateway.yaml", {}).files


@pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n", "é"])
def test_authorities_that_are_no_certificates_are_named_with_their_key(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigErrors, match=r"gateway.yaml:3: resolver.tls.ca: .*ca.pem holds no CA certificate"):
        authorities(tmp_path, content)


def test_authorities_that_cannot_be_read_are_named_with_their_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"gateway.yaml:3: resolver.tls.ca: .*ca.pem cannot be read"):
        authorities(tmp_path, None)


@pytest.mark.parametrize("how", ["named", "linked"])
def test_what_lies_outside_of_the_policys_directory_is_not_quoted(tmp_path: Path, how: str) -> None:
    """Who writes one of a policy's files can name every file that the gateway can read; its log is for others."""
    secret = write(tmp_path, "secrets/key", "sk_live/4eC39HqLyjWDarjtT1")
    write(tmp_path, "policy/own.txt", "not a name\n")
    (tmp_path / "policy" / "link.txt").symlink_to(secret)
    named = {"named": str(secret), "linked": "link.txt"}[how]
    rules = f"{{name: a, hosts_file: {named}}}, {{name: b, cidrs_file: {named}}}, {{name: c, hosts_file: own.txt}}"
    path = write(tmp_path, "policy/team.yaml", f"rules: [{rules}]")
    with pytest.raises(ConfigErrors) as refused:
        load(path)
    told = str(refused.value)
    assert "4eC39" not in told
    assert told.count(":1: is not an entry of such a list") == 2
    assert "own.txt:1: 'not a name' is not a host name" in told
