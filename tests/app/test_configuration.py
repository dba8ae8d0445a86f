"""All files at one go."""

import os
import threading
from pathlib import Path

from gateway.app.configuration import Sources, load_configuration
from tests.app.policies import text, write


def test_files_that_change_while_others_are_read_are_read_again(tmp_path: Path) -> None:
    policy, hosts = tmp_path / "policy", tmp_path / "hosts"
    policy.mkdir()
    os.mkfifo(hosts)
    write(policy / "a.yaml", text("former"))
    write(policy / "b.yaml", f"rules: [{{name: listed, hosts_file: {hosts}}}]\n")

    def change_both() -> None:
        with hosts.open("wb") as listing:  # waits until a.yaml was read
            write(policy / "a.yaml", text("newer"))
            write(tmp_path / "new", "newer.listed.test\n").rename(hosts)
            listing.write(b"former.listed.test\n")

    changing = threading.Thread(target=change_both, daemon=True)
    changing.start()
    first, second = load_configuration(Sources(policy=policy), {}).policy.policy.rules
    changing.join(10)
    assert [first.name, second.hosts[0].name] == ["newer", "newer.listed.test"]
