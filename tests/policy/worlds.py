"""Random policies and questions that collide: few names, networks, ports and clients, each in several spellings."""

from random import Random
from typing import Any

from tests.policy.contract import Asker, Document, Wish, World, canonical, contradictions, end_of, read


def words(text: str) -> list[str]:
    return text.split()


NAMES = words("""a.test x.a.test y.x.a.test z.y.x.a.test xa.test b.test _s.a.test lone pod.cluster.local cluster.local
    xn--bcher-kva.test q.xn--bcher-kva.test""")
SUFFIXES = words("""a.test x.a.test b.test bücher.test BÜCHER.test.
    xn--bcher-kva.test cluster.local A.TEST x.A.test. lone""")
NETWORKS = words("""93.0.0.0/8 93.1.0.0/16 93.1.1.1 93.1.1.1/32 ::ffff:93.1.0.0/112 2606::/16 ::/0 0.0.0.0/0 2606::1
    198.51.100.0/24 10.0.0.0/8 10.1.0.0/16 10.1.2.3/32 169.254.169.254 169.254.0.0/16 127.0.0.0/8 127.0.0.1 ::1
    64:ff9b::/96 2002::/16 64:ff9b::a01:203""")
LITERALS = words("""93.1.1.1 93.1.2.1 93.2.0.1 94.0.0.1 ::ffff:93.1.1.1 2606::1 2606:0:0::2 10.1.2.3 10.2.0.1
    169.254.169.254 127.0.0.1 ::1 198.51.100.7 64:ff9b::10.1.2.3 64:ff9b::93.1.1.1 64:ff9b::127.0.0.1
    64:ff9b::169.254.169.254 2002:a01:203::""")
ADDRESSES = [
    *LITERALS,
    *words("""0.0.0.0 224.0.0.1 255.255.255.255 100.64.0.1 100.100.100.200 168.63.129.16 192.0.0.9 192.0.0.8 192.0.0.192
    192.0.2.1 192.88.99.1 198.18.0.1 203.0.113.1 240.0.0.1 8.8.8.8 :: fe80::1 ff02::1 fd00::1 fd00:ec2::254
    fd20:ce::254 2001:db8::1 2001::1 2001:0:808:808::f7f7:f7f7 2001:0:a01:203::f7f7:f7f7 2001:0:808:808::f5fe:fdfc
    2002:808:808::1 2002:7f00:1:: ::8.8.8.8 ::10.1.2.3 64:ff9b::8.8.8.8 64:ff9b:1::8.8.8.8 64:ff9b:1::a01:203
    64:ff9b::198.51.100.7 3fff::1 5f00::1 4000::1 2001:20::1 2001:1::1 2001:4:112::1 100::1"""),
]
GROUPS: dict[str, list[Document]] = {
    "wide": [{"cidr": "10.0.0.0/8"}],
    "mid": [{"cidr": "10.1.0.0/16"}, {"cidr": "2001:db8::/32"}],
    "near": [{"cidr": "::ffff:10.1.1.0/120"}],
    "ci": [{"user": "ci"}],
    "ci-near": [{"user": "ci", "cidr": "10.0.0.0/8"}],
    "pay": [{"namespace": "pay"}],
    "account": [{"namespace": "pay", "service_account": "api"}, {"user": "root"}],
    "labels": [{"namespace": "pay", "labels": {"app": "x"}}],
    "production": [{"namespace_labels": {"env": "prod", "tier": "1"}}],
    "mesh": [{"spiffe": "spiffe://c/ns/pay/*"}],
    "mesh-near": [{"spiffe": "spiffe://c/ns/pay/sa/api", "cidr": "10.0.0.0/8"}],
}
PEERS = ["10.2.0.1", "10.1.2.1", "10.1.1.1", "192.0.2.1", "::ffff:10.1.1.1", "2001:db8::1"]
LABELS = {"labels": {"app": "x", "b": "y"}, "namespace_labels": {"env": "prod", "tier": "1"}}
FACTS: list[Document] = [
    *[{}] * 6,
    *[{"user": user} for user in ("ci", "root", "CI")],
    *[{"spiffe": f"spiffe://c/ns/{rest}"} for rest in ("pay/sa/api", "pay", "pay/", "pay//a", "payx/a")],
    {"namespace": "pay"},
    {"namespace": "pay", "service_account": "api"},
    {"namespace": "pay", "service_account": "web", **LABELS},
    {"namespace": "web", "labels": {"app": "x"}, "namespace_labels": {"env": "prod"}},
]
DAYS = ["2027-01-31", "2027-02-01"]
MOMENTS = [end_of(day) + seconds for day in DAYS for seconds in (-1, -0.001, 0, 0.5)]
PORTS: list[Any] = [
    *([443], [80, 443], ["443"], ["80-443"], "any", ["any"], [80], ["1-442", 444], [443, "440-450"], [5432]),
    *(["1-65535"], ["443-443", 443]),
]


def some(random: Random, pool: list[Any], most: int, least: int = 0) -> list[Any]:
    return random.sample(pool, random.randint(least, min(most, len(pool))))


def make_pattern(random: Random) -> Any:
    suffix, name, kind = random.choice(SUFFIXES), random.choice(NAMES), random.random()
    if kind < 0.4:
        return "*" if kind < 0.06 else random.choice([suffix, name, name.upper(), f"{name}."])
    if kind < 0.8:
        return f"*.{suffix}" if kind < 0.62 else f".{suffix}"
    return {"name": f"*.{suffix}", "depth": 1}


def make_rule(random: Random, number: int, groups: list[str], lists: dict[str, str]) -> Document:
    rule: Document = {"name": random.choice([f"r{number}", f"R-{9 - number}"]), "public_suffix": True}

    def maybe(chance: float, key: str, value: Any) -> None:
        if value and random.random() < chance:
            rule[key] = value

    maybe(0.3, "action", "deny")
    kind = random.random()
    maybe(kind < 0.75, "hosts", [make_pattern(random) for _ in range(random.randint(1, 3))])
    maybe(kind >= 0.6, "cidrs", some(random, NETWORKS, 3, 1))
    maybe(0.12, "hosts_file", f"hosts{number}.txt")
    maybe(0.1, "cidrs_file", f"cidrs{number}.txt")
    listed = [entry if isinstance(entry, str) else entry["name"] for entry in (make_pattern(random) for _ in range(3))]
    lists |= {f"hosts{number}.txt": "# names\n" + "  # one\n".join(listed)}
    lists |= {f"cidrs{number}.txt": "\n\n".join(some(random, NETWORKS, 4, 1)) + "\n"}
    maybe(0.75, "ports", random.choice(PORTS))
    maybe(0.5, "clients", some(random, groups, 2))
    maybe(0.3, "mode", random.choice(["report", "enforce"]))
    out = {"hosts": [make_pattern(random)], "cidrs": some(random, NETWORKS, 2), "clients": some(random, groups, 2)}
    maybe(0.4, "except", {key: value for key, value in out.items() if value and random.random() < 0.6})
    if "action" in rule:
        return rule
    maybe(0.25, "expires", random.choice(DAYS))
    maybe(0.35, "protocol", random.choice(["tls", "http", "auto", "tcp"]))
    maybe(0.15, "within", some(random, NETWORKS, 3))
    maybe(0.3, "private", some(random, NETWORKS[9:], 3))
    maybe(0.5, "sni", random.choice(["match", "rule", "any"]))
    if ("*", False) in read(rule, lists)["patterns"]:
        rule.pop("private", None)
        rule["protocol"] = {"tcp": "auto"}.get(rule.get("protocol", "auto"), rule.get("protocol", "auto"))
    if rule.get("protocol") == "http" and rule.get("sni") != "any":
        maybe(0.8, "inspect", random.choice([{"log": {"query": True}}, {"headers": {"remove": ["X-Id"]}}]))
    return rule


def make_world(random: Random) -> World:
    """One that loads, or (one in five) has rules that contradict each other."""
    names = random.sample(["a.yaml", "b.yaml", "M.yaml", "zz.yaml"], random.choice([1, 1, 2, 3]))
    world = World({name: {"version": 1} for name in names})
    mode = random.choice(["enforce", "report", None])
    if mode is not None:
        world.files[random.choice(names)]["mode"] = mode
    groups = some(random, sorted(GROUPS), 6)
    for group in groups:
        stated = random.choice([{}, {}, {"mode": "report"}, {"mode": "enforce"}])
        world.files[random.choice(names)].setdefault("clients", {})[group] = {"match": GROUPS[group], **stated}
    if len(names) > 1 and random.random() < 0.3:
        world.team[names[-1]] = "pay"
    for number in range(random.randint(0, 8)):
        rules = world.files[random.choice(names)].setdefault("rules", [])
        rules.append(make_rule(random, number, groups, world.lists))
    world.allow, world.deny = some(random, NETWORKS[9:], 2), some(random, NETWORKS, random.choice([0, 0, 1]))
    world.domains = random.choice([["cluster.local"], ["cluster.local"], ["a.test"], ["local", "b.test"]])
    world.own = [(random.choice(["93.1.1.1", "10.1.2.3", "127.0.0.1", "2606::1"]), 443)] * random.choice([0, 0, 1])
    if random.random() < 0.8:
        world = without_contradictions(world)
    return world


def without_contradictions(world: World) -> World:
    while found := contradictions(world):
        file, _, name = found[0][0].partition("#")
        world = without(world, file, name)
    return world


def without(world: World, file: str, name: str) -> World:
    """The same without that rule."""
    body = world.files[file]
    rules = [rule for rule in body["rules"] if rule["name"] != name]
    files = {**world.files, file: {**body, "rules": rules}}
    return World(files, world.lists, world.team, world.allow, world.deny, world.domains, world.own)


def make_question(random: Random) -> tuple[Asker, Wish, float]:
    facts, known = random.choice(FACTS), random.random() > 0.1
    asker = Asker(random.choice(PEERS), facts, known, known and bool(facts) and random.random() < 0.15)
    name = random.random() < 0.65
    host = random.choice(NAMES) if name else canonical(random.choice([*LITERALS, *ADDRESSES]))
    original = canonical(random.choice(LITERALS)) if name and random.random() < 0.3 else None
    wish = Wish(host, random.choice([80, 443, 444, 5432]), original, random.random() < 0.2)
    return asker, wish, random.choice(MOMENTS)
