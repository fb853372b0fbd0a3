#!/opt/jailctl/venv/bin/python3
"""An account for each open pull request, for as long as it is open: run it every minute, or from a web hook.

    gh pr list --json number,author | jq '[.[] | {number, login: .author.login}]' | pull_requests.py /etc/reviewers

Standard input: a JSON list of {"number", "login"}. The directory has a file of public keys for each login. Requests
that are closed lose their account; two runs at once do no harm.
"""

import json
import sys
from pathlib import Path

from jailkit import Host, Limits, Manifest, PlanSpec

PLAN = PlanSpec(name="review", limits=Limits(memory="1G", processes=200), linger=300)


def wanted(requests: list[dict[str, str | int]], keys: Path) -> Manifest:
    jails = {}
    for request in requests:
        file = keys / str(request["login"])
        lines = file.read_text().splitlines() if file.is_file() else []
        jails[f"pr-{int(request['number'])}"] = {"plan": "review", "keys": lines}
    return Manifest.model_validate({"name": "pull-requests", "plans": {"review": PLAN}, "jails": jails})


def main(directory: str) -> int:
    manifest = wanted(json.load(sys.stdin), Path(directory))
    with Host.open() as host:
        results = host.apply(manifest, prune=True)
    for result in results:
        if result.outcome != "same":
            print(f"{result.what} {result.name}: {result.error.message if result.error else result.outcome}")
    return max((result.error.exit_number for result in results if result.error), default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
