"""What a kubelet makes of a rendered pod on a machine without one: its volumes as files, and its variables.

The files of a volume lie behind `..data`, a link that is swapped when they change. What Secrets hold is made up.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bcrypt

from gateway.intercept.authority import create_authority
from tests.chart.rendering import Object, one
from tests.helpers.certificates import Authority, pem

ROOT = "/etc/egress-gateway"
REDIS = "redis://gateway:secret@redis.example:6379/0"

Files = Mapping[str, bytes]


class Mounted:
    """The volumes of a pod below `folder`, which stands for /etc/egress-gateway in their contents as well."""

    def __init__(self, folder: Path, pod: Mapping[str, Any], objects: Sequence[Object]) -> None:
        self.folder = folder
        self._objects = objects
        (gateway,) = (each for each in pod["containers"] if each["name"] == "gateway")
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for mount in gateway["volumeMounts"]:
            place = folder / mount["mountPath"].removeprefix(ROOT).lstrip("/")
            mount_files(place, self._files(volumes[mount["name"]]))
        self.environ = {each["name"]: _value(each) for each in gateway.get("env", ())}
        self.arguments = [argument.replace(ROOT, str(folder)) for argument in gateway["args"]]

    @property
    def settings_file(self) -> Path:
        """gateway.yaml."""
        return Path(self.arguments[-1])

    def _files(self, volume: Mapping[str, Any]) -> Files:
        if "configMap" in volume:
            named = {each["metadata"]["name"]: each for each in self._objects if each["kind"] == "ConfigMap"}
            data = named[volume["configMap"]["name"]]["data"]
            return {name: text.replace(ROOT, str(self.folder)).encode() for name, text in data.items()}
        names = [item["path"] for item in volume["secret"]["items"]]
        assert volume["secret"]["defaultMode"] == 0o440
        return dict(zip(names, _SECRETS[volume["name"].partition("-")[0]](), strict=True))


def mount_files(place: Path, files: Files) -> None:
    """As a kubelet lays them, at first and again when they change: one swap for all."""
    place.mkdir(parents=True, exist_ok=True)
    fresh = place / f"..{time.time_ns()}"
    fresh.mkdir()
    for name, content in files.items():
        (fresh / name).write_bytes(content)
        (fresh / name).chmod(0o440)
        if not (place / name).is_symlink():
            (place / name).symlink_to(f"..data/{name}")
    swap = place / "..data_tmp"
    swap.symlink_to(fresh.name)
    swap.rename(place / "..data")


def service_variables(name: str, *ports: int) -> dict[str, str]:
    """What Kubernetes sets in every pod of a namespace for a Service, unless enableServiceLinks is false."""
    address, upper = "10.96.7.7", name.upper().replace("-", "_")
    variables = {
        f"{upper}_SERVICE_HOST": address,
        f"{upper}_SERVICE_PORT": str(ports[0]),
        f"{upper}_SERVICE_PORT_PROXY": str(ports[0]),
        f"{upper}_PORT": f"tcp://{address}:{ports[0]}",
    }
    for port in ports:
        prefix = f"{upper}_PORT_{port}_TCP"
        variables |= {prefix: f"tcp://{address}:{port}", f"{prefix}_PROTO": "tcp"}
        variables |= {f"{prefix}_PORT": str(port), f"{prefix}_ADDR": address}
    return variables


def rendered_pod(objects: Sequence[Object], kind: str = "Deployment") -> Any:
    """The pod of the one workload of a kind."""
    return one(objects, kind)["spec"]["template"]["spec"]


def without_service_links(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The test's own variables but for those that would change settings."""
    return {name: value for name, value in environ.items() if not name.startswith("EGRESS")}


def _value(variable: Mapping[str, Any]) -> str:
    if variable.get("valueFrom", {}).get("secretKeyRef"):
        assert variable["name"] == "EGRESS__LIMITS__STORE"
        return REDIS
    return str(variable["value"])


def _tls() -> tuple[bytes, bytes]:
    issued = Authority("clients' own").server("egress-gateway.egress.svc")
    return pem(*issued.chain), issued.key_pem


_SECRETS: Mapping[str, Callable[[], tuple[bytes, ...]]] = {
    "tls": _tls,
    "client": lambda: (pem(Authority("clients").certificate),),
    "inspection": lambda: create_authority("inspection", time.time()),
    "basic": lambda: (b"payments:" + bcrypt.hashpw(b"x", bcrypt.gensalt(4)) + b"\n",),
    "admin": lambda: (b"correct-horse-battery\n",),
    "secret": lambda: (b"a-credential-of-some-length\n",),
}
"""Contents by the beginning of the volume's name, in the order of its items."""
