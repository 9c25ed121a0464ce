"""The plug-in as a stranger meets it: the distribution built and installed, his project installed, his tests run."""

import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

pytestmark = pytest.mark.live


def run(*words: str, cwd: Path) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_strangers_bot_is_tested(tmp_path: Path) -> None:
    """Nothing of this repository is in his way: not its path, not its settings. What the distribution depends on is
    lent from here, for a test must not need the internet."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=ROOT)
    (wheel,) = tmp_path.glob("intentcast-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "node/town/scenarios/first-deal.toml" in names
    assert "node/api/dashboard.json" in names
    assert {"node/py.typed", "protocol/py.typed"} <= set(names)
    project = tmp_path / "peak"
    shutil.copytree(HERE / "example", project, ignore=shutil.ignore_patterns("__pycache__"))
    home = tmp_path / "env"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    (packages,) = (home / "lib").glob("python*/site-packages")
    (packages / "lent.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps")
    run(*pip, "--force-reinstall", "--ignore-installed", str(wheel), cwd=tmp_path)
    run(*pip, "--no-build-isolation", str(project), cwd=tmp_path)
    where = run(
        str(python), "-c", "import node, peak_rentals; print(node.__file__, peak_rentals.__file__)", cwd=tmp_path
    )
    assert where.count(str(home)) == 2
    said = run(str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_peak_rentals.py", cwd=project)
    assert "3 passed" in said


def test_without_pytest_trio_one_is_told(tmp_path: Path) -> None:
    """Only who asks for a fixture; everybody else's tests run as ever."""
    (tmp_path / "test_it.py").write_text("def test_other():\n    pass\n\ndef test_mine(alice):\n    pass\n")
    hide = "import sys; sys.modules['pytest_trio'] = None; import pytest; raise SystemExit(pytest.main(sys.argv[1:]))"
    words = (
        sys.executable,
        "-c",
        hide,
        "-q",
        "-p",
        "node.town.plugin",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        ".",
        ".",
    )
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert "1 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "pip install '/path/to/intentcast[test]'" in done.stdout
