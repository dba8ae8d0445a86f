"""Peers that come from the distribution."""

import pwd
import shutil
from pathlib import Path

from benchmarks import layout
from benchmarks.policy import names
from benchmarks.proxies.launch import DESCRIPTORS, Launch, Place, program

_SQUID = """\
# One process, no cache, otherwise the defaults. The default for logs is a process of its own; stdio: costs squid less.
http_port 127.0.0.1:{port}
workers 1
cache deny all
acl clients src {networks}
acl destinations dstdomain "{names}"
acl measured_ports port {tls} {tcp}
acl http_ports port {http}
http_access allow CONNECT clients destinations measured_ports
http_access allow !CONNECT clients destinations http_ports
http_access deny all
access_log stdio:{logs}/access.log squid
cache_log {logs}/cache.log
cache_effective_user {user}
max_filedescriptors {descriptors}
pid_filename none
netdb_filename none
pinger_enable off
coredump_dir {logs}
visible_hostname benchmark.test
shutdown_lifetime 0 seconds
"""
_TINYPROXY = """\
# No list of names: tinyproxy has no index of them, but tries one regular expression after the other. It denies by port.
Port {port}
Listen 127.0.0.1
Allow 127.0.0.0/8
{connect_ports}
LogFile "{logs}/tinyproxy.log"
LogLevel Connect
PidFile "{logs}/tinyproxy.pid"
MaxClients {descriptors}
Timeout 3600
"""
_APACHE = """\
# mod_proxy_connect keeps a thread for each tunnel. One allowed name: apache has no index of names either.
ServerName benchmark.test
ServerRoot {logs}
DefaultRuntimeDir {logs}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_connect_module {modules}/mod_proxy_connect.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
User {user}
Listen 127.0.0.1:{port}
PidFile {logs}/apache.pid
ErrorLog {logs}/error.log
LogFormat "%h %t \\"%r\\" %>s %b" line
CustomLog {logs}/access.log line
ThreadLimit 1000
ThreadsPerChild 1000
StartServers 1
ServerLimit 12
MaxRequestWorkers 12000
MinSpareThreads 500
MaxSpareThreads 12000
Timeout 3600
KeepAlive On
MaxKeepAliveRequests 0
ProxyRequests On
AllowCONNECT {tls} {tcp} 443
<Proxy "*">
    Require all denied
</Proxy>
<ProxyMatch "^(http://)?{target}[:/]">
    Require all granted
</ProxyMatch>
"""
_MODULES = Path("/usr/lib/apache2/modules")


def _user(wanted: str) -> str:
    return wanted if any(entry.pw_name == wanted for entry in pwd.getpwall()) else "nobody"


def _range(ports: tuple[int, int]) -> str:
    return f"{ports[0]}-{ports[1]}"


def squid(place: Place) -> Launch:
    """Its list of names has as many entries as the gateway has rules."""
    binary = program("squid", "squid-openssl")
    destinations = place.write("squid-names.txt", "".join(f"{name}\n" for name in names()))
    user = _user("proxy")
    shutil.chown(place.logs, user)
    text = _SQUID.format(
        port=layout.PROXY_PORT,
        networks=" ".join(layout.group_network(group) for group in range(layout.GROUPS)),
        names=destinations,
        user=user,
        logs=place.logs,
        descriptors=DESCRIPTORS,
        tls=_range(layout.TLS_PORTS),
        tcp=_range(layout.TCP_PORTS),
        http=_range(layout.HTTP_PORTS),
    )
    path = place.write("squid.conf", text)
    return Launch(
        "squid", [binary, "--foreground", "-n", "benchmark", "-f", str(path)], path, place.logs / "access.log"
    )


def tinyproxy(place: Place) -> Launch:
    binary = program("tinyproxy", "tinyproxy")
    ports = [port for first, last in (layout.TLS_PORTS, layout.TCP_PORTS) for port in range(first, last + 1)]
    lines = "\n".join(f"ConnectPort {port}" for port in ports)
    text = _TINYPROXY.format(port=layout.PROXY_PORT, connect_ports=lines, logs=place.logs, descriptors=DESCRIPTORS)
    path = place.write("tinyproxy.conf", text)
    return Launch("tinyproxy", [binary, "-d", "-c", str(path)], path, place.logs / "tinyproxy.log")


def apache(place: Place) -> Launch:
    binary = program("apache2", "apache2-bin")
    user = _user("www-data")
    shutil.chown(place.logs, user)
    text = _APACHE.format(
        logs=place.logs,
        modules=_MODULES,
        user=user,
        port=layout.PROXY_PORT,
        tls=_range(layout.TLS_PORTS),
        tcp=_range(layout.TCP_PORTS),
        target=layout.TARGET.replace(".", "[.]"),
    )
    path = place.write("apache.conf", text)
    return Launch("apache", [binary, "-f", str(path), "-DFOREGROUND"], path, place.logs / "access.log")
