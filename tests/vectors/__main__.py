"""Writes tests/vectors/*.json and the made parts of protocol/README.md from the code.

scripts/vectors            write them
scripts/vectors --check    write nothing; exit 1 and name what differs
"""

import argparse
import sys

from tests.vectors import book, build


def main() -> int:
    parser = argparse.ArgumentParser(description="Vectors for other implementations, and the tables of the book.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything differs")
    check = parser.parse_args().check

    wanted = {build.HERE / name: build.text_of(name) for name in build.FILES}
    wanted[book.BOOK] = book.rewritten(book.BOOK.read_text("utf-8"))
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        if not check:
            path.write_text(wanted[path], "utf-8")
        print(f"{path.name} {'differs' if check else 'written'}")
    print(f"{len(wanted) - len(stale)} of {len(wanted)} files are as the code has them")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
