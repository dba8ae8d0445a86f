import os
from pathlib import Path

from gateway.net.names import NameServer, NameServers, hosts_file, parse_hosts, parse_resolv_conf
from tests.net.parts import address_of, addresses, name


def test_a_hosts_file_gives_each_name_its_addresses_in_file_order() -> None:
    hosts = parse_hosts(
        "10.0.0.1 api.test api\n# 10.0.0.9 gone.test\n\n2001:db8::1\tAPI.test # and more\n10.0.0.1 api.test\n"
    )

    assert hosts[name("api.test")] == addresses("10.0.0.1", "2001:db8::1")
    assert hosts[name("api")] == addresses("10.0.0.1")
    assert name("gone.test") not in hosts


def test_malformed_lines_and_names_of_a_hosts_file_are_left_out() -> None:
    hosts = parse_hosts(
        "fe80::1%lo0 zoned.test\n127.1 short.test\nnonsense\n10.0.0.1 ok.test b\u00fccher.test 10.0.0.2\n10.0.0.3\n"
    )

    assert hosts == {name("ok.test"): addresses("10.0.0.1")}


def test_resolv_conf_gives_its_name_servers_and_nothing_else() -> None:
    text = "search corp.test\noptions ndots:5\nnameserver 10.0.0.1\n;nameserver 10.0.0.9\nnameserver 2001:db8::1 # x\n"

    assert parse_resolv_conf(text) == (NameServer(address_of("10.0.0.1")), NameServer(address_of("2001:db8::1")))


def test_without_a_name_server_line_this_machine_is_asked() -> None:
    assert parse_resolv_conf("search corp.test") == (NameServer(address_of("127.0.0.1"), 53),)


def test_a_changed_file_shows_after_a_second_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("10.0.0.1 x.test\n")
    hosts = hosts_file(path)
    assert hosts.read(5.0) == {name("x.test"): addresses("10.0.0.1")}

    path.write_text("10.0.0.22 x.test\n")
    assert hosts.read(5.9) == {name("x.test"): addresses("10.0.0.1")}
    assert hosts.read(6.0) == {name("x.test"): addresses("10.0.0.22")}


def test_a_file_replaced_within_its_timestamps_resolution_is_noticed(tmp_path: Path) -> None:
    path, fresh = tmp_path / "hosts", tmp_path / "fresh"
    path.write_text("10.0.0.1 x.test\n")
    fresh.write_text("10.0.0.2 x.test\n")
    os.utime(path, ns=(0, 0))
    os.utime(fresh, ns=(0, 0))
    hosts = hosts_file(path)
    hosts.read(0.0)

    fresh.replace(path)
    assert hosts.read(1.0) == {name("x.test"): addresses("10.0.0.2")}


def test_an_unchanged_file_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("10.0.0.1 x.test\n")
    hosts = hosts_file(path)
    first = hosts.read(0.0)

    assert hosts.read(1.0) is first


def test_a_missing_file_counts_as_empty_and_may_appear(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    hosts = hosts_file(path)
    assert hosts.read(0.0) == {}

    path.write_text("10.0.0.1 x.test\n")
    assert hosts.read(1.0) != {}
    path.unlink()
    assert hosts.read(2.0) == {}


def test_a_file_that_cannot_be_read_keeps_its_last_meaning(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("10.0.0.1 x.test\n")
    hosts = hosts_file(path)
    before = hosts.read(0.0)

    path.unlink()
    path.mkdir()  # reading it fails, even for root
    assert hosts.read(1.0) == before != {}


def test_system_stands_for_the_servers_of_resolv_conf_in_its_place(tmp_path: Path) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 10.0.0.1\nnameserver 10.0.0.2\n")
    first, second, own = (NameServer(address_of(text)) for text in ("10.0.0.1", "10.0.0.2", "10.0.0.3"))

    assert NameServers([own, "system", second], resolv_conf).current(0.0) == (own, first, second)
