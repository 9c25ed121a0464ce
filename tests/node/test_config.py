"""Settings: where each comes from, and how what is wrong is told."""

import socket
from pathlib import Path

import pytest

from node.config import PORTS, Config, load_config, write_config
from node.trouble import Exit, Trouble

PEER = "12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust"
JOIN = f"/ip4/203.0.113.5/tcp/20123/p2p/{PEER}"


def test_a_new_home_gets_a_port_of_its_own(tmp_path: Path) -> None:
    """The written file loads, names the network, and has a fixed port, so that an invite survives a restart."""
    write_config(tmp_path / "config.toml", "testnet")
    config = load_config(tmp_path, environ={})
    assert config.net == "testnet"
    (address,) = config.listen
    assert int(address.rpartition("/")[2]) in PORTS
    assert load_config(tmp_path, environ={}) == config
    assert (tmp_path / "config.toml").stat().st_mode & 0o777 == 0o600


def test_a_taken_port_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first start never fails because a port is taken."""
    with socket.socket() as taken, socket.socket() as other:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        other.bind(("0.0.0.0", 0))
        free = other.getsockname()[1]
        other.close()
        tried = [taken.getsockname()[1], free]
        monkeypatch.setattr("node.config.random.sample", lambda ports, count: tried)
        write_config(tmp_path / "config.toml", "main")
    assert load_config(tmp_path, environ={}).listen == (f"/ip4/0.0.0.0/tcp/{free}",)


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    """Each place is asked in turn; what nobody says has its default."""
    file = tmp_path / "config.toml"
    assert load_config(tmp_path, environ={}) == Config(tmp_path)
    file.write_text('net = "of-file"\nmeeting = true\nheartbeat = 0.1\n')
    assert load_config(tmp_path, environ={}).net == "of-file"
    environ = {"INTENTCAST_NET": "of-env", "INTENTCAST_JOIN": f"{JOIN}, {JOIN}", "INTENTCAST_MEETING": "no"}
    found = load_config(tmp_path, {"net": None, "join": []}, environ)
    assert (found.net, found.join, found.meeting, found.heartbeat) == ("of-env", (JOIN, JOIN), False, 0.1)
    assert load_config(tmp_path, {"net": "of-flag"}, environ).net == "of-flag"
    assert load_config(tmp_path, {"meeting": False}, {}).meeting is False


def test_a_catalogue_beside_the_settings_is_used(tmp_path: Path) -> None:
    """catalogue.toml needs no setting; a named one must be there."""
    assert load_config(tmp_path, environ={}).catalogue is None
    (tmp_path / "catalogue.toml").write_text("")
    assert load_config(tmp_path, environ={}).catalogue == tmp_path / "catalogue.toml"
    with pytest.raises(Trouble, match="no catalogue"):
        load_config(tmp_path, environ={"INTENTCAST_CATALOGUE": "shop.toml"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# a\n\nlistn = []\n", "line 3: there is no setting 'listn'; did you mean listen?"),
        ('net = "x"\n[vendor]\nname = 1\n', "line 2: there is no setting 'vendor'; known are net"),
        ('log-level = "info"\n', "line 1: there is no setting 'log-level'; did you mean log_level?"),
        ('net = "Main Street"\n', "line 1: a network's name is 1 to 32"),
        ("net = 5\n", "line 1: a network's name"),
        ("\nmeeting = 1\n", "line 2: true or false"),
        ("listen = [1]\n", "line 1: a list of texts"),
        ('listen = ["/ip4/1.2.3.4/udp/5"]\n', "line 1: '/ip4/1.2.3.4/udp/5'"),
        (f'listen = ["{JOIN}"]\n', "line 1: "),
        ('join = ["/ip4/1.2.3.4/tcp/5"]\n', "line 1: '/ip4/1.2.3.4/tcp/5' does not say who is expected there"),
        ('announce = ["/ip4/0.0.0.0/tcp/5"]\n', "line 1: '/ip4/0.0.0.0/tcp/5' cannot be dialled"),
        ('divisions = ["mobility.car"]\n', "line 1: 'mobility.car' is no division"),
        ('log_level = "loud"\n', "line 1: one of debug, info"),
        ("heartbeat = 0\n", "line 1: seconds from"),
        ("heartbeat = nan\n", "line 1: seconds from"),
        ("net = main\n", "is not TOML: Invalid value (at line 1"),
        ('net = "a"\nnet = "b"\n', "is not TOML: Cannot overwrite"),
    ],
)
def test_what_is_wrong_in_the_file_names_its_line(tmp_path: Path, text: str, says: str) -> None:
    """What, in which line, and that the command line is to blame: exit 2."""
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(Trouble) as caught:
        load_config(tmp_path, environ={})
    assert says in caught.value.message
    assert str(tmp_path / "config.toml") in caught.value.message
    assert caught.value.exit_code == Exit.USAGE


@pytest.mark.parametrize(
    ("flags", "environ", "where"),
    [
        ({"join": ["/ip4/1.2.3.4/tcp/99999/p2p/" + PEER]}, {}, "--join: "),
        ({"join": [JOIN, "garbage"]}, {}, "--join: 'garbage'"),
        ({"log_level": "loud"}, {}, "--log-level: "),
        ({}, {"INTENTCAST_HEARTBEAT": "fast"}, "INTENTCAST_HEARTBEAT: "),
    ],
)
def test_what_is_wrong_elsewhere_names_its_place(
    tmp_path: Path, flags: dict[str, object], environ: dict[str, str], where: str
) -> None:
    """The flag or the variable that is wrong is named."""
    with pytest.raises(Trouble) as caught:
        load_config(tmp_path, flags, environ)
    assert caught.value.message.startswith(where)
