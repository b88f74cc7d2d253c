"""Loading: every problem of every file in one run, each with its code and its place."""

from __future__ import annotations

import dataclasses
import sys
from datetime import timedelta
from importlib.metadata import EntryPoint

import pytest
from config_world import NOW, PROFILE, World, certificates, codes, world
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.config.backends import installed
from est_server.config.configuration import load
from est_server.config.lints import lint_against_issuers
from est_server.config.problems import CODES, read_sources, render
from est_server.errors import ConfigurationError, Position
from est_server.pki.plan import Pointers
from est_server.profiles.profile import Issuer
from est_server.profiles.rules import refusals

DEVICE = "profiles/device.yaml"


def issuer(name: str = "issuing", **pointers: tuple[str, ...]) -> Issuer:
    certificate = x509.load_pem_x509_certificate(certificates()["issuing"].encode())
    return Issuer(name, certificate, Pointers(**pointers))


def test_a_right_configuration_loads_without_a_word(folder):
    found = folder.load()
    assert found.warnings == ()
    assert found.labels == {"device": "device", "default": "device", None: "device"}
    assert found.base == folder.folder
    assert list(found.profiles) == ["device"]
    assert found.profiles["device"].text == PROFILE
    assert found.profiles["device"].model.certificate.lifetime == timedelta(days=90)
    _, settings = found.ca_settings["issuing"]
    assert settings.passphrase.reference == "file:secrets/ca.pass"
    assert [len(found.trust["acme"].anchors), found.trust["acme"].intermediates] == [1, ()]
    assert found.server.listeners.admin.certificate == "tls/server.pem"
    assert found.server.listeners.admin.listen == "127.0.0.1:8444"


def test_profiles_are_compiled_once_their_ca_is_open(folder):
    folder.write(DEVICE, PROFILE + 'rules:\n- {name: a, when: "1 < 2", message: no}\n')
    found = folder.load()
    profile = found.compile({"issuing": issuer()})["device"]
    assert profile.text == found.profiles["device"].text
    assert refusals(profile.rules, {}) == [None]
    assert profile.position("subject", "common_name") == folder.place(DEVICE, "common_name")
    assert profile.position("labels", 1) == folder.place(DEVICE, "default")
    with pytest.raises(ConfigurationError) as refused:
        found.compile({"other": issuer()})
    assert codes(refused.value.problems) == ["E200"]


@pytest.mark.parametrize("pointer", ["crl", "delta-crl", "ocsp"])
def test_a_pointer_to_what_the_ca_can_not_publish_is_a_mistake(folder, pointer):
    folder.change(DEVICE, "90d}", f"90d, pointers: [{pointer}, ca-issuers]}}")
    loaded = folder.load()
    with pytest.raises(ConfigurationError) as refused:
        loaded.compile({"issuing": issuer()})
    (problem,) = refused.value.problems
    assert (problem.code, problem.position) == ("E270", folder.place(DEVICE, pointer))
    name = {"crl": "crl", "delta-crl": "freshest_crl", "ocsp": "ocsp"}[pointer]
    assert loaded.compile({"issuing": issuer(**{name: ("http://x/",)})})


def test_six_mistakes_have_six_places_in_one_run(folder):
    folder.write(
        DEVICE,
        """\
version: 1
labels: [device, default]
ca: issuing
authenticate:
  - credential:
  - client_certificate: {trust: acme, identity: subject.serialnumber}
reenroll: {window: 30 days}
subject: {comon_name: {from: device.id}}
key: {allow: [EC-P256]}
key: {allow: [EC-P384]}
certificate: {lifetime: 90d, extended_key_usage: [clientauth]}
""",
    )
    places = [
        ("E103", folder.place(DEVICE, ":\n  - client")),
        ("E104", folder.place(DEVICE, "subject.serialnumber")),
        ("E104", folder.place(DEVICE, "30 days")),
        ("E105", folder.place(DEVICE, "comon_name")),
        ("E101", folder.place(DEVICE, "key:", 2)),
        ("E104", folder.place(DEVICE, "clientauth")),
    ]
    # an empty value has no text: it is right behind its colon
    places[0] = ("E103", dataclasses.replace(places[0][1], column=16))
    assert [(p.code, p.position) for p in folder.problems()] == places


def test_every_file_is_checked_in_one_run(folder):
    folder.change("server.yaml", "cas:", "oops: 1\ncas:")
    folder.change("server.yaml", "passphrase: file:secrets/ca.pass", "passphrase: hunter2")
    folder.write("trust/acme.pem", "nothing")
    folder.change(DEVICE, "ca: issuing", "ca: isuing")
    folder.write("profiles/other.yaml", "version: 2\n")
    problems = folder.problems()
    assert codes(problems) == [
        *("E105", "E107"),
        "E211",
        "E200",
        *("E106", "E106", "E106", "E106", "E106", "E215", "E104"),
    ]
    assert "hunter2" not in "".join(map(str, problems))
    assert "hunter2" not in render(problems, read_sources(problems, {}))


def test_the_profiles_are_checked_even_if_the_server_file_is_no_yaml(folder):
    folder.write("server.yaml", "a: [\n")
    folder.change(DEVICE, "EC-P256", "EC-P265")
    assert codes(folder.problems()) == ["E100", "E204"]


def rule(when: str, name: str = "a") -> str:
    return f'- {{name: {name}, when: "{when}", message: no}}\n'


def change(file: str, old: str, new: str, at: str | None = None, number: int = 1):
    """Return a mistake: what it changes and where it is reported."""

    def make(world: World) -> Position:
        world.change(file, old, new)
        return world.place(file, at or new, number)

    return make


PHONE = "  - {name: phone, verifier: android-key, "


def policy(text: str = "", *places: str, at: str | None = None, profile: str | None = None):
    """Return a policy with `text` behind its first rule, which a profile names."""

    def make(world: World) -> Position:
        rule = "rules:\n  - name: key\n    verifier: tpm2-certify\n    trust: [acme]\n"
        if "trust" in text:
            rule = rule.replace("    trust: [acme]\n", "")
        world.write("policies/gold.yaml", f"version: 1\n{rule}{text}")
        if profile != "":
            world.write(DEVICE, f"{PROFILE}attestation: {{policy: gold}}\n{profile or ''}")
        if at is not None:
            return world.place(DEVICE, at)
        for number, place in enumerate(places, 1):
            found = world.place("policies/gold.yaml", place)
            if number == len(places):
                return found
        raise AssertionError(places)

    return make


def add(file: str, text: str, at: str, number: int = 1):
    def make(world: World) -> Position:
        world.write(file, (world.read(file) if (world.folder / file).exists() else "") + text)
        return world.place(file, at, number)

    return make


def mode(world: World) -> Position:
    (world.folder / "ca/issuing.key").chmod(0o640)
    return world.place("server.yaml", "file:ca/issuing.key")


def gone(file: str, at: str | None):
    def make(world: World) -> Position:
        (world.folder / file).unlink()
        if at is None:
            return Position(str(world.folder / file), 1, 1)
        return world.place("server.yaml", at)

    return make


def no_cel(world: World) -> Position:
    world.write(DEVICE, PROFILE + "rules:\n" + rule("true"))
    return world.place(DEVICE, '"true"')


def taken(world: World) -> Position:
    world.write("profiles/other.yaml", PROFILE.replace("device, default", "x, device"))
    return world.place("profiles/other.yaml", "device]")


def renamed(world: World) -> Position:
    (world.folder / DEVICE).rename(world.folder / "profiles/My Device.yaml")
    return Position(str(world.folder / "profiles/My Device.yaml"), 1, 1)


def reserved(world: World) -> Position:
    (world.folder / DEVICE).rename(world.folder / "profiles/ocsp-responder.yaml")
    return Position(str(world.folder / "profiles/ocsp-responder.yaml"), 1, 1)


def listeners(world: World) -> Position:
    world.change("server.yaml", "  public:", "  est: {listen: 127.0.0.1:8444}\n  public:")
    return Position(str(world.folder / "server.yaml"), 2, 1)


def leaf(world: World) -> Position:
    world.write("trust/acme.pem", certificates()["root"] + certificates()["server"])
    return world.place("trust/acme.pem", "-----BEGIN", 2)


def der(world: World) -> Position:
    root = x509.load_pem_x509_certificate(certificates()["root"].encode())
    (world.folder / "trust/acme.pem").write_bytes(root.public_bytes(Encoding.DER))
    return Position(str(world.folder / "trust/acme.pem"), 1, 1)


def expired(world: World) -> Position:
    return world.place("server.yaml", "trust/acme.pem")


def proxied(only: str):
    """Return a mistake: a binding is required where a proxy ends the devices' TLS."""

    def make(world: World) -> Position:
        proxies = f"{{networks: [10.0.0.0/8], only: {only}}}"
        world.change("server.yaml", "  public:", f"  est: {{proxies: {proxies}}}\n  public:")
        return add(DEVICE, "proof_of_possession: {channel_binding: required}\n", "required")(world)

    return make


def system_anchors(world: World) -> Position:
    world.change("server.yaml", "trust/acme.pem", "system")
    method = "client_certificate: {trust: acme, implicit: refuse}"
    return change(DEVICE, "credential: {}", method, "acme")(world)


def back_dated(old, new, at):
    """Ask for compact sets, and for certificates that begin before they would know of them."""

    def make(world):
        change("server.yaml", "passphrase", "compact: {lag: 1h}\n    passphrase", "compact")(world)
        return change(DEVICE, old, new, at)(world)

    return make


def collision(world: World) -> Position:
    """Return a mistake: a CA has the name that another gives to a partial list."""
    text = world.read("server.yaml")
    ca = text[text.index("  issuing:") : text.index("trust:")]
    world.change("server.yaml", "trust:", ca.replace("issuing:", "issuing-7:") + "trust:")
    return world.place("server.yaml", "issuing-7")


def unfetchable(world: World) -> Position:
    """Return a mistake: lists without a listener."""
    world.change("server.yaml", 'listeners:\n  public: {url: "http://pki.example.net"}\n', "")
    world.change("server.yaml", "passphrase", "crl: {directory: crl}\n    passphrase")
    return world.place("server.yaml", "crl")


SAN = "subject_alternative_names: "
WHEN = "when: device.id == request.key"
REMOTE = 'ledger: "postgresql://est@db.example.net/est"'
MISTAKES = [
    ("E100", change(DEVICE, "[EC-P256]", "*x.y", ".y")),
    ("E101", add(DEVICE, "ca: x\n", "ca:", 2)),
    ("E102", change(DEVICE, "ca: issuing", "ca: &a issuing", "&a")),
    ("E103", change(DEVICE, "ca: issuing", "ca: ~", "~")),
    ("E104", change(DEVICE, "90d", "90", "90}")),
    ("E104", change("server.yaml", "http://pki", "https://pki", '"https')),
    ("E104", add("server.yaml", "limits: {body: 1}\n", "1}")),
    ("E104", add("server.yaml", "limits: {idle_timeout: 0s}\n", "0s")),
    ("E104", add("server.yaml", "limits: {body_timeout: 2h}\n", "2h")),
    ("E104", add("server.yaml", "limits: {idempotency_window: 9999y}\n", "9999y")),
    ("E104", add("server.yaml", "state: {ledger: mysql://x}\n", "mysql")),
    ("E104", add("server.yaml", 'state: {ledger: "postgresql://u:secret@h/d"}\n', '"postgresql')),
    ("E104", add("server.yaml", 'state: {ledger: "postgresql://u@h"}\n', '"postgresql')),
    ("E104", add("server.yaml", 'state: {ledger: "postgresql://u@h:0/d"}\n', '"postgresql')),
    ("E104", add("server.yaml", 'state: {ledger: "postgresql://u@h/d?ssl=0"}\n', '"postgresql')),
    ("W280", add("server.yaml", f"state: {{{REMOTE}, postgres: {{tls: false}}}}\n", "false")),
    ("W281", add("server.yaml", "state: {postgres: {connections: 4}}\n", "postgres")),
    ("E109", add("server.yaml", f"state: {{{REMOTE}, postgres: {{trust: no.pem}}}}\n", "no.pem")),
    ("E104", change("server.yaml", "{acme:", "{The Acme:", "The")),
    ("E105", add("server.yaml", "trsut: {}\n", "trsut")),
    ("E106", change(DEVICE, "{lifetime: 90d}", "{}", "certificate")),
    ("E107", change("server.yaml", "file:secrets/ca.pass", "hunter2")),
    ("E108", add(DEVICE, "rules: " + "[" * 32, "[", 34)),
    ("E109", gone("server.yaml", None)),
    ("E109", gone("trust/acme.pem", "trust/acme.pem")),
    ("E109", gone("tls/server.pem", "listeners")),
    ("E200", change(DEVICE, "ca: issuing", "ca: isuing", "isuing")),
    (
        "E201",
        change(DEVICE, "  - credential: {}", "  - client_certificate: {trust: acne}", "acne"),
    ),
    (
        "E201",
        change(
            DEVICE,
            "{window: 30d}",
            "{window: 30d, other_cas: [{trust: acne}]}",
            "acne",
        ),
    ),
    ("E202", taken),
    ("E202", change(DEVICE, "[device,", "[default,", "default", 2)),
    *(
        ("E203", change(DEVICE, "[device,", f"[{label},", label))
        for label in ("cacerts", "SimpleEnroll", "nonce", "RENEWAL-INFO", "a/b", "x" * 129, "..")
    ),
    ("E204", change(DEVICE, "[EC-P256]", "[EC-P265]", "EC-P265")),
    ("E204", change(DEVICE, "[EC-P256]", "[RSA-1024+]", "RSA-1024+")),
    (
        "E205",
        change(DEVICE, "subject:\n  common_name: {from: device.id}", "subject: {}", "subject"),
    ),
    ("E206", add(DEVICE, "rules:\n" + rule("true") + rule("false"), "rules")),
    ("E207", add(DEVICE, SAN + '{dns: {allow: ["r*.x"], max: 1}}\n', '"r*.x"')),
    ("E207", add(DEVICE, SAN + "{ip: {allow: [10.0.0.1/8], max: 1}}\n", "10.0")),
    ("E207", add(DEVICE, SAN + "{dns: {fixed: [a b]}}\n", "a b")),
    ("E207", change(DEVICE, "common_name:", "country: {fixed: XYZ}\n  common_name:", "XYZ")),
    ("E208", add(DEVICE, "rules:\n" + rule("device.site =="), '"device')),
    ("E208", add(DEVICE, "rules:\n" + rule("divice.id == device.id"), '"divice')),
    ("E208", add(DEVICE, "rules:\n" + rule("1 + 1"), '"1 + 1')),
    ("E209", no_cel),
    ("E210", change("server.yaml", "backend: soft", "backend: sfot", "sfot")),
    ("E211", add("trust/acme.pem", "-----BEGIN CERTIFICATE-----\nAA\n", "-----BEGIN", 2)),
    (
        "E211",
        add(
            "trust/acme.pem",
            "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
            "-----BEGIN",
            2,
        ),
    ),
    (
        "E211",
        add(
            "tls/server.pem",
            "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
            "-----BEGIN",
            3,
        ),
    ),
    ("E211", leaf),
    ("E211", der),
    ("E212", mode),
    ("E213", gone("ca/issuing.key", "file:ca/issuing.key")),
    ("E213", change("server.yaml", "file:secrets/ca.pass", "env:NOBODY_SETS_THIS")),
    ("E213", change("server.yaml", "file:secrets/ca.pass", "file:secrets")),
    ("E214", listeners),
    (
        "E215",
        change(
            DEVICE,
            "authenticate:\n  - credential: {}\nreenroll: {window: 30d}\n",
            "authenticate: []\n",
            "authenticate",
        ),
    ),
    ("E216", renamed),
    ("E216", reserved),
    ("E217", gone(DEVICE, "version")),
    ("E218", add(DEVICE, "registration: none\n", "device.id")),
    ("E219", change(DEVICE, "90d", "30s")),
    ("E220", add(DEVICE, "csr_attributes: {publish: nothing, require: [1.2.3]}\n", "nothing")),
    (
        "E104",
        change("server.yaml", "  public:", "  est: {proxies: {networks: [x]}}\n  public:", "x]"),
    ),
    (
        "E104",
        change(
            "server.yaml", "  public:", "  est: {proxies: {networks: []}}\n  public:", "proxies"
        ),
    ),
    ("E240", proxied("true")),
    ("E250", add(DEVICE, "attestation: {policy: gold}\n", "gold")),
    ("E251", policy("    enforce: report-only\n", "rules", profile="")),
    ("E252", policy(profile="server_key_generation: {}\n", at="server_key")),
    ("E253", policy("on_result: {warning: {do: approve}}\n", at="gold")),
    ("W251", policy("on_result: {none: {do: issue}}\n", "none")),
    ("E210", policy("  - {name: other, verifier: tpm3}\n", "tpm3", profile="")),
    ("E201", policy("    trust: [acmee]\n", "acmee", profile="")),
    ("E105", policy("    no_such_key: 1\n", "no_such", profile="")),
    ("E206", policy("  - {name: key, verifier: tpm2-quote}\n", "key, v")),
    ("E104", policy(PHONE + "status_list: no.json}\n", "no.json", profile="")),
    ("E104", policy(PHONE + "status_list: server.yaml}\n", "server.yaml", profile="")),
    ("E104", policy(PHONE + "os_patch_level: may}\n", "may", profile="")),
    ("E106", policy("  - {name: dice, verifier: dice-x509}\n", "{name: dice", profile="")),
    ("E210", add("server.yaml", "attestation: {verifiers: {tpm3: {}}}\n", "tpm3")),
    (
        "E104",
        add("server.yaml", "attestation: {time_limit: 0s}\n", "0s"),
    ),
    ("W240", proxied("false")),
    ("W241", system_anchors),
    ("E221", change(DEVICE, "{window: 30d}", "{window: 30d, alternates: [othr]}", "othr")),
    ("W201", change(DEVICE, "90d}", "90d, extended_key_usage: [serverAuth]}", "extended")),
    ("W203", add(DEVICE, SAN + '{dns: {allow: ["*.x"]}}\n', "allow", 2)),
    ("W203", add(DEVICE, SAN + "{ip: {allow: [10.0.0.0/8]}}\n", "allow", 2)),
    ("W204", add(DEVICE, SAN + "{as_requested: true}\n", "true")),
    (
        "W205",
        lambda world: (
            change(DEVICE, "device.id", "identity.name", "credential")(world)
            and add(DEVICE, "registration: none\n", "credential")(world)
        ),
    ),
    (
        "W206",
        lambda world: (
            change(DEVICE, "90d}", "90d, pointers: [ca-issuers]}")(world)
            and change("server.yaml", "pki.example.net", "localhost:8080", '"http')(world)
        ),
    ),
    ("W207", change(DEVICE, "30d", "90d")),
    ("W208", change(DEVICE, "30d", "30d, grace_after_expiry: 91d", "91d")),
    ("W220", add(DEVICE, "proof_of_possession: {one_time_password: required}\n", "credential")),
    ("W230", add(DEVICE, f"approval: {{mode: manual, {WHEN}, expires: 5m}}\n", "5m")),
    ("W231", add(DEVICE, "approval: {mode: manual}\n", "manual")),
    ("E208", add(DEVICE, "approval: {mode: manual, when: devise.id}\n", "devise")),
    ("W212", change(DEVICE, "30d", "30d, old: supersede, after: 23h", "23h")),
    ("E104", change("server.yaml", "passphrase", "crl: {shards: 257}\n    passphrase", "257")),
    (
        "E104",
        change(
            "server.yaml",
            "passphrase",
            "crl: {lifetime: 1h, interval: 1h}\n    passphrase",
            "crl",
        ),
    ),
    ("E271", collision),
    (
        "E104",
        change(
            "server.yaml",
            "passphrase",
            "compact: {lifetime: 1h, every: 1h}\n    passphrase",
            "compact",
        ),
    ),
    (
        "E104",
        change("server.yaml", "passphrase", "compact: {lag: 14m}\n    passphrase", "14m"),
    ),
    ("E272", back_dated("90d}", "90d, backdate: 51m}", "51m")),
    (
        "W270",
        change("server.yaml", "passphrase", "crl: {interval: 13h}\n    passphrase", "13h"),
    ),
    (
        "W271",
        change("server.yaml", "passphrase", "crl: {delta_lifetime: 24h}\n    passphrase", "24h"),
    ),
    ("W272", unfetchable),
    (
        "W275",
        change(
            "server.yaml",
            "passphrase",
            "crl: {delta: false, complete: revocation}\n    passphrase",
            "revocation",
        ),
    ),
    ("W273", change(DEVICE, "90d}", "90d, pointers: [crl]}", "pointers")),
    ("W260", change("server.yaml", "ca.pass", "ca.pass\n    ocsp: {responder_lifetime: 2h}", "2h")),
    (
        "W261",
        lambda world: (
            change("server.yaml", '  public: {url: "http://pki.example.net"}', "  {}")(world)
            and change("server.yaml", "ca.pass", "ca.pass\n    ocsp: {}", "ocsp")(world)
        ),
    ),
    ("W211", change(DEVICE, "authenticate:\n  - credential: {}\n", "authenticate: []\n", "auth")),
]


@pytest.mark.parametrize(("code", "make"), MISTAKES)
def test_a_mistake_has_its_code_and_its_place(folder, monkeypatch, code, make):
    if make is no_cel:
        monkeypatch.setitem(sys.modules, "cel", None)
    at = make(folder)
    problem = folder.only()
    assert (problem.code, problem.position) == (code, at), str(problem)
    assert problem.severity == ("error" if code.startswith("E") else "warning")
    assert len(render([problem], read_sources([problem], {})).splitlines()) >= 1


def test_every_code_of_a_file_has_a_test():
    elsewhere = {"E270", "E280", "W202", "W209", "W210", "W301", "W302", "W303"}
    assert {code for code, _ in MISTAKES} | elsewhere == set(CODES)


def test_the_right_file_has_none_of_the_warnings(folder):
    folder.change(DEVICE, "90d}", "90d, extended_key_usage: []}")
    folder.write(
        DEVICE, folder.read(DEVICE) + SAN + "{dns: {allow: [a.b]}, ip: {allow: ['::1']}}\n"
    )
    assert folder.problems() == ()


@pytest.mark.parametrize(
    ("points", "code", "said"),
    [
        ((), "E210", "installed: none"),
        (
            (
                EntryPoint("soft", "a:B", "est_server.backends"),
                EntryPoint("soft", "c:D", "est_server.backends"),
            ),
            "E210",
            "uninstall all but one of a:B, c:D",
        ),
        (
            (EntryPoint("soft", "no_such_module:B", "est_server.backends"),),
            "E209",
            "pip install 'est-server[soft]'",
        ),
        (
            (EntryPoint("soft", "backends.soft:NoSuchName", "est_server.backends"),),
            "E210",
            "it comes from backends.soft:NoSuchName",
        ),
    ],
)
def test_a_backend_that_cant_be_had_says_what_to_do(folder, points, code, said):
    folder.backends = points
    problem = folder.only()
    assert (problem.code, problem.hint) == (code, said)
    assert problem.position == folder.place("server.yaml", "soft")


@pytest.mark.parametrize(
    ("extras", "name", "command"),
    [
        (("xyz", "pkcs11"), "xyz_pca", "pip install 'acme[xyz]'"),
        (("xyz", "xyz-pca"), "xyz_pca", "pip install 'acme[xyz-pca]'"),
        (("xyz",), "xyzome", "pip install no_such_module"),
        ((), "acme", "pip install 'acme[acme]'"),
    ],
)
def test_a_missing_package_is_told_with_the_command_that_brings_it(
    folder, tmp_path_factory, monkeypatch, extras, name, command
):
    site = tmp_path_factory.mktemp("site")
    (info := site / "acme-1.0.dist-info").mkdir()
    lines = ["Metadata-Version: 2.1", "Name: acme", "Version: 1.0"]
    lines += [f"Provides-Extra: {extra}" for extra in extras]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    group = "[est_server.backends]"
    (info / "entry_points.txt").write_text(f"{group}\n{name} = no_such_module.sub:B\n")
    monkeypatch.syspath_prepend(site)
    folder.backends = tuple(point for point in installed() if point.name == name)
    folder.change("server.yaml", "backend: soft", f"backend: {name}")
    problem = folder.only()
    assert (problem.code, problem.hint) == ("E209", command)
    assert problem.position == folder.place("server.yaml", name)


def test_the_same_backend_found_twice_is_one(folder):
    folder.backends *= 2
    assert folder.problems() == ()


def test_a_bundle_is_sorted_into_anchors_and_the_rest(folder):
    pem = certificates()
    folder.write("trust/acme.pem", f"the root\n{pem['root']}\nand below it\n{pem['issuing']}")
    store = folder.load().trust["acme"]
    assert [one.subject.rfc4514_string() for one in store.anchors] == ["CN=Root"]
    assert [one.subject.rfc4514_string() for one in store.intermediates] == ["CN=Issuing"]
    folder.write("trust/acme.pem", pem["issuing"])
    store = folder.load().trust["acme"]
    assert [one.subject.rfc4514_string() for one in store.anchors] == ["CN=Issuing"]


def test_a_secret_in_the_environment_is_enough(folder, monkeypatch):
    folder.change("server.yaml", "file:secrets/ca.pass", "env:CA_PASS")
    monkeypatch.setenv("CA_PASS", "x")
    assert folder.problems() == ()


def test_the_digest_is_that_of_every_file_and_of_no_place(folder, tmp_path_factory):
    first = folder.load()
    elsewhere = world(tmp_path_factory.mktemp("elsewhere"))
    assert elsewhere.load().digest == first.digest
    for name in ("server.yaml", DEVICE, "trust/acme.pem", "tls/server.pem"):
        before = elsewhere.load().digest
        elsewhere.write(name, elsewhere.read(name) + "\n")
        assert elsewhere.load().digest != before, name


def test_names_in_messages_are_those_on_the_command_line(folder, monkeypatch):
    monkeypatch.chdir(folder.folder.parent)
    folder.change(DEVICE, "EC-P256", "x")
    name = folder.folder.name
    with pytest.raises(ConfigurationError) as refused:
        load(
            (folder.folder / "server.yaml").relative_to(folder.folder.parent),
            backends=folder.backends,
        )
    assert refused.value.problems[0].position.file == f"{name}/profiles/device.yaml"


def test_other_files_in_the_folder_are_not_profiles(folder):
    for name in ("README.md", "profile.schema.json", ".device.yaml", "device.yaml~", "x.yml"):
        folder.write(f"profiles/{name}", "not: [yaml")
    assert folder.problems() == ()


def test_warnings_that_need_the_issuers_and_the_time(folder):
    folder.change(DEVICE, "90d}", "90d, pointers: [crl, delta-crl, ca-issuers]}")
    found = folder.load()
    urls = {name: (f"http://pki.example.net/{name}",) for name in ("freshest_crl", "ca_issuers")}
    issuers = {"issuing": issuer(**urls)}
    problems = lint_against_issuers(found, issuers, NOW)
    assert [(p.code, p.position) for p in problems] == [("W210", folder.place(DEVICE, "crl"))]
    end = issuers["issuing"].certificate.not_valid_after_utc
    problems = lint_against_issuers(found, issuers, end - timedelta(days=89))
    assert (problems[0].code, problems[0].position) == ("W202", folder.place(DEVICE, "90d"))
    assert codes(lint_against_issuers(found, issuers, end - timedelta(days=91))) == ["W210"]
    problems = lint_against_issuers(found, issuers, NOW + timedelta(days=3651))
    assert codes(problems) == ["W202", "W210", "W209"]
    assert problems[2].position == folder.place("server.yaml", "trust/acme.pem")
    assert {problem.severity for problem in problems} == {"warning"}


# openssl x509 -req -in request.pem -signkey key.pem: no extensions, so no basicConstraints
VERSION_1 = """\
-----BEGIN CERTIFICATE-----
MIIBIzCByQIUN0vAB2hDHGMKXmDLRSKPCwmNVCgwCgYIKoZIzj0EAwIwEzERMA8G
A1UEAwwIT2xkIHJvb3QwIBcNMjYxMTI0MDIyMjI3WhgPMjEyNjEwMzEwMjIyMjda
MBMxETAPBgNVBAMMCE9sZCByb290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
MezuAbbD9y/A46hf8uYROg8/94dSGl2AJdI0itcTSXD2qTFeSzuXksTfzViQTJ5F
4LFHW7fi+H8CZj3GQfqpBzAKBggqhkjOPQQDAgNJADBGAiEAzG7yR9Mxiqd/8w9W
70IfuXehSxxtpnH+6NDI5XEb3WUCIQCdCWcA4Oa4HlXetleYy2xokhSrA7fYzI58
y08jOxYMJQ==
-----END CERTIFICATE-----
"""


def test_a_root_from_before_extensions_is_a_ca(folder):
    folder.write("trust/acme.pem", VERSION_1)
    (anchor,) = folder.load().trust["acme"].anchors
    assert anchor.version == x509.Version.v1


def test_a_time_that_can_t_work_says_what_could(folder):
    folder.write("server.yaml", folder.read("server.yaml") + "limits: {body_timeout: 2h}\n")
    message = "limits.body_timeout: more than 0s and at most 1h is expected"
    assert folder.only().message == message
