"""The home: whose it is, who may read it, and that one node at a time runs in it."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from node.home import Home, default_home, write_file
from node.trouble import Exit, Trouble


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_is_made_once_and_private(tmp_path: Path) -> None:
    """Directory 0700, files 0600, two different keys; the second time nothing is made and no key changes."""
    home = Home(tmp_path / "deep" / "home")
    assert not home.exists
    assert home.make("main") == [str(home.path), "config.toml", "node.key", "vendor.key"]
    assert mode(home.path) == 0o700
    assert {mode(path) for path in home.path.iterdir()} == {0o600}
    seeds = home.seed("node.key"), home.seed("vendor.key")
    assert len(set(seeds)) == 2
    assert {len(seed) for seed in seeds} == {32}
    assert Home(home.path).make("main") == []
    assert (home.seed("node.key"), home.seed("vendor.key")) == seeds


def test_an_open_directory_is_closed(tmp_path: Path) -> None:
    """mkdir makes 0755 directories; a home in one becomes private."""
    tmp_path.chmod(0o755)
    Home(tmp_path).make("main")
    assert mode(tmp_path) == 0o700


def test_a_directory_with_other_things_is_left_alone(tmp_path: Path) -> None:
    """--home ~ must not turn somebody's files into a node's home."""
    (tmp_path / "thesis.txt").write_text("")
    tmp_path.chmod(0o755)
    with pytest.raises(Trouble, match="holds other things") as caught:
        Home(tmp_path).make("main")
    assert caught.value.exit_code == Exit.REFUSED
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert mode(tmp_path) == 0o755


def test_a_file_is_no_home(tmp_path: Path) -> None:
    """Said at once, as a wrong command line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Trouble, match="not a directory") as caught:
        Home(tmp_path / "file")
    assert caught.value.exit_code == Exit.USAGE


def test_somebody_elses_home_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner counts, not what the permissions would allow: root is refused too."""
    Home(tmp_path).make("main")
    owner = os.geteuid()
    monkeypatch.setattr("node.home.os.geteuid", lambda: owner + 1)
    with pytest.raises(Trouble, match="belongs to user") as caught:
        Home(tmp_path)
    assert caught.value.exit_code == Exit.REFUSED


@pytest.mark.parametrize(
    ("harm", "says", "exit_code"),
    [
        (lambda key: key.chmod(0o640), "can be read by others (mode 0640)", Exit.REFUSED),
        (lambda key: key.chmod(0o604), "can be read by others (mode 0604)", Exit.REFUSED),
        (lambda key: key.write_bytes(b"short"), "damaged", Exit.FAILURE),
        (lambda key: key.write_bytes(bytes(33)), "damaged", Exit.FAILURE),
        (lambda key: key.unlink(), "missing", Exit.FAILURE),
        (lambda key: (key.rename(key.with_suffix(".old")), key.symlink_to("node.old")), "node.key: ", Exit.REFUSED),
    ],
)
def test_a_key_that_is_not_as_it_should_be(tmp_path: Path, harm: object, says: str, exit_code: Exit) -> None:
    """Read by others, damaged, gone, or a link to elsewhere: named, and never replaced behind its owner's back."""
    home = Home(tmp_path)
    home.make("main")
    harm(tmp_path / "node.key")  # type: ignore[operator]
    with pytest.raises(Trouble) as caught:
        home.seed("node.key")
    assert says in caught.value.message
    assert caught.value.exit_code == exit_code


def test_one_node_at_a_time(tmp_path: Path) -> None:
    """The second one is refused with the first one's pid; afterwards the home is free."""
    home = Home(tmp_path)
    home.make("main")
    with home.lock():
        home.write_note(peer_id="12D3", addresses=[], net="main", socket="s")
        assert Home(tmp_path).note() == {
            "pid": os.getpid(),
            "peer_id": "12D3",
            "addresses": [],
            "net": "main",
            "socket": "s",
        }
        with pytest.raises(Trouble, match=f"process {os.getpid()}") as caught, Home(tmp_path).lock():
            pass
        assert caught.value.exit_code == Exit.REFUSED
        assert home.is_running
    assert not home.is_running
    assert home.note() is None
    with Home(tmp_path).lock():
        assert home.is_running


def test_a_killed_node_leaves_no_lock(tmp_path: Path) -> None:
    """Its note is recognised as a dead one's, and the next node starts as if nothing had been."""
    Home(tmp_path).make("main")
    program = (
        "import os, signal, sys; from pathlib import Path; from node.home import Home\n"
        "home = Home(Path(sys.argv[1]))\n"
        "with home.lock():\n"
        "    home.write_note(peer_id='12D3', addresses=[], net='main', socket='s')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert killed.returncode == -9
    home = Home(tmp_path)
    assert home.note_file.exists()
    with pytest.raises(Trouble, match="killed or crashed") as caught:
        home.note()
    assert caught.value.exit_code == Exit.NOT_RUNNING
    with home.lock():
        assert home.note() is None


def test_a_long_home_has_its_socket_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The kernel bounds socket paths; two long homes have two sockets, in a directory only their owner can enter."""
    run = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # pytest's own directories are too long for a socket
    request.addfinalizer(lambda: shutil.rmtree(run))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(run))
    short = Home(Path("/tmp/h"))
    assert short.socket_path() == short.path / "node.sock"
    paths = {Home(tmp_path / (letter * 120)).socket_path() for letter in "ab"}
    assert len(paths) == 2
    for path in paths:
        assert path.parent == run / "intentcast"
        assert len(path.name) == len("0123456789abcdef01234567.sock")
        assert mode(path.parent) == 0o700
    (run / "intentcast").chmod(0o777)
    monkeypatch.setattr("node.home.tempfile.gettempdir", lambda: str(run / "nowhere"))
    with pytest.raises(Trouble, match="none of"):
        Home(tmp_path / ("a" * 120)).socket_path()


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails, the old content stands and no temporary file is left."""
    write_file(tmp_path / "f", b"old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("node.home.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_file(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_the_environment_names_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """INTENTCAST_HOME, or the system's place for user data."""
    monkeypatch.setenv("INTENTCAST_HOME", str(tmp_path / "mine"))
    assert default_home() == tmp_path / "mine"
    monkeypatch.delenv("INTENTCAST_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_home() == tmp_path / "intentcast"
