"""`make manifests`: the same objects as plain YAML."""

import json
from pathlib import Path

import yaml

from helm.manifests import files_of, write
from tests.chart.rendering import rendered, template, values_of


def test_each_object_has_a_file_of_its_own_and_none_is_lost(tmp_path: Path) -> None:
    run = template("helm4", *values_of("everything"))
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "of-yesterday.yaml").touch()
    assert write(folder, run.out) == len(rendered("helm4", "everything"))
    read = [yaml.safe_load(file.read_text()) for file in sorted(folder.iterdir())]
    assert sorted(map(json.dumps, read)) == sorted(map(json.dumps, rendered("helm4", "everything")))


def test_objects_of_one_name_in_two_namespaces_have_two_files() -> None:
    names = [name for name, _ in files_of(template("helm4", *values_of("everything")).out)]
    locks = [name for name in names if "-lock." in name]
    assert locks == [f"networkpolicy-rel-egress-gateway-lock.{where}.yaml" for where in ("payments", "search")]
