#!/opt/jailctl/venv/bin/python3
"""Make a jail for each line of a CSV file (name, plan, key, expires), as often as you like:

    csv_import.py customers.csv

What is there already is not touched; who is not in the file any more stays (prune=True would remove her).
"""

import csv
import sys

from jailkit import Host, JailkitError, Manifest, Result


def read(path: str) -> Manifest:
    jails = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            said = {"plan": row["plan"], "keys": [row["key"]] if row["key"] else [], "expires": row["expires"] or None}
            jails[row["name"]] = {key: value for key, value in said.items() if value}
    return Manifest.model_validate({"name": "csv", "jails": jails})


def tell(result: Result) -> None:
    if result.error is not None:
        print(f"{result.name}: {result.error.message}", file=sys.stderr)


def main(path: str) -> int:
    try:
        with Host.open() as host:
            results = host.apply(read(path), jobs=4, each=tell)
    except (JailkitError, ValueError) as error:  # ValueError: a line of the file that cannot be a jail
        print(error, file=sys.stderr)
        return 1
    added = sum(result.outcome == "added" for result in results)
    failed = sum(result.error is not None for result in results)
    print(f"{added} added, {failed} failed, {len(results) - added - failed} as they should be")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
