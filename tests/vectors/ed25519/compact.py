"""Writes wycheproof.json, wycheproof_x25519.json and cctv.json from checkouts of their sources.

    python -m tests.vectors.ed25519.compact PATH/TO/wycheproof PATH/TO/CCTV

One vector a line, without what we do not use: LICENSES.md says what was left out.
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def wycheproof(source: Path) -> dict[str, Any]:
    tests = json.loads((source / "testvectors_v1/ed25519_test.json").read_text("utf-8"))["testGroups"]
    return {
        "source": "https://github.com/C2SP/wycheproof testvectors_v1/ed25519_test.json",
        "licence": "Apache-2.0, see LICENSE-wycheproof; changed, see LICENSES.md",
        "fields": ["tcId", "key", "sig", "msg", "flags", "result"],
        "vectors": [
            [test["tcId"], group["publicKey"]["pk"], test["sig"], test["msg"], test["flags"], test["result"]]
            for group in tests
            for test in group["tests"]
        ],
    }


def wycheproof_x25519(source: Path) -> dict[str, Any]:
    tests = json.loads((source / "testvectors_v1/x25519_test.json").read_text("utf-8"))["testGroups"]
    return {
        "source": "https://github.com/C2SP/wycheproof testvectors_v1/x25519_test.json",
        "licence": "Apache-2.0, see LICENSE-wycheproof; changed, see LICENSES.md",
        "fields": ["tcId", "public", "private", "shared", "flags"],
        "vectors": [
            [test[field] for field in ("tcId", "public", "private", "shared", "flags")]
            for group in tests
            for test in group["tests"]
        ],
    }


def cctv(source: Path) -> dict[str, Any]:
    vectors = json.loads((source / "ed25519/ed25519vectors.json").read_text("utf-8"))
    return {
        "source": "https://github.com/C2SP/CCTV ed25519/ed25519vectors.json",
        "licence": "BSD-3-Clause, see LICENSE-cctv; changed, see LICENSES.md",
        "fields": ["number", "key", "sig", "msg", "flags"],
        "vectors": [[one["number"], one["key"], one["sig"], one["msg"], one["flags"] or []] for one in vectors],
    }


def written(made: dict[str, Any]) -> str:
    """JSON with one vector a line."""
    head = {name: value for name, value in made.items() if name != "vectors"}
    lines = ",\n".join(json.dumps(vector, separators=(",", ":")) for vector in made["vectors"])
    return json.dumps(head, indent=1)[:-2] + ',\n "vectors": [\n' + lines + "\n]}\n"


def main() -> None:
    of_wycheproof, of_cctv = Path(sys.argv[1]), Path(sys.argv[2])
    (HERE / "wycheproof.json").write_text(written(wycheproof(of_wycheproof)), "ascii")
    (HERE / "wycheproof_x25519.json").write_text(written(wycheproof_x25519(of_wycheproof)), "ascii")
    (HERE / "cctv.json").write_text(written(cctv(of_cctv)), "ascii")


if __name__ == "__main__":
    main()
