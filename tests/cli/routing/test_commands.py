"""`routes`: which options make sense together, and what is printed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from tests.settings.texts import write

TRANSPARENT = "listeners: [{name: a, bind: '[::]:3128'}, {name: b, bind: '[::]:15006', mode: transparent}]"


def routes(*arguments: str) -> tuple[int, str, str]:
    """Status, standard output and standard error."""
    done = CliRunner().invoke(app, ["routes", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_print_shows_a_script_and_does_nothing() -> None:
    status, shown, _ = routes("print", "tproxy", "-i", "eth1", "--port", "15001", "--mark", "0x40")
    assert status == 0
    assert shown.startswith("#!/bin/sh\nset -e\n")
    assert "fwmark 0x40/0x40" in shown
    assert "tproxy to :15001" in shown


def test_the_port_is_that_of_the_transparent_listener(tmp_path: Path) -> None:
    config = write(tmp_path, "gateway.yaml", TRANSPARENT)
    assert "redirect to :15006" in routes("print", "redirect", "-i", "eth1", "-c", str(config))[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("redirekt",), "PLACE is one of redirect, tproxy, pod, not 'redirekt', did you mean 'redirect'?"),
        (("redirect",), "redirect needs --interface, behind which the clients are"),
        (("tproxy", "-i", "eth1", "--uid", "0"), "--uid is for pod"),
        (("pod",), "pod needs --uid: without it the gateway's own connections would be led back to it"),
        (("pod", "--uid", "0", "-i", "eth1"), "--interface is not for pod, whose own connections are captured"),
        (("redirect", "-i", "eth1", "--mark", "1"), "--mark is not for redirect, which marks nothing"),
        (("tproxy", "-i", "eth1", "--mark", "0x3"), "--mark: '0x3' is not one bit of 32, such as 0x1000"),
        (("tproxy", "-i", "eth1", "--mark", "x"), "--mark: 'x' is not one bit of 32, such as 0x1000"),
        (("redirect", "-i", 'a" } drop #'), "--interface: 'a\" } drop #' is not the name of an interface"),
        (("redirect", "-i", "eth1", "--pass", "10.1"), '--pass: "10.1" is not a network such as 10.0.0.0/8 or'),
    ],
)
def test_options_that_make_no_sense_are_told_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    status, shown, told = routes("print", *arguments, "--port", "1")
    assert (status, shown) == (2, "")
    assert told.startswith(message)
    assert len(told.splitlines()) == 1


def test_without_a_transparent_listener_the_port_has_to_be_said(tmp_path: Path) -> None:
    config = write(tmp_path, "gateway.yaml", "version: 1")
    status, _, told = routes("print", "redirect", "-i", "eth1", "-c", str(config))
    assert (status, told) == (2, "name the listener by --port: gateway.yaml has none with `mode: transparent`\n")
