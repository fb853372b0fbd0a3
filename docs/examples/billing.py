#!/opt/jailctl/venv/bin/python3
"""What a billing system (WHMCS and its like) calls: create, suspend, unsuspend, change-package, terminate.

    billing.py create alice --package small --key "ssh-ed25519 AAAA... alice"

Prints "success" or one line that says why not. Billing systems time out and call again: every command may be repeated,
at once or after a crash, and comes to the same end.
"""

import argparse
import sys
import time

from jailkit import Host, JailkitError

SECONDS = 45
"""The caller gives up after a minute."""


def create(host: Host, account: str, package: str, keys: list[str]) -> None:
    host.add_user(account, plan=package, keys=keys)


def suspend(host: Host, account: str, message: str) -> None:
    host.suspend(account, message)


def unsuspend(host: Host, account: str) -> None:
    host.resume(account)


def change_package(host: Host, account: str, package: str) -> None:
    host.set(account, plan=package)


def terminate(host: Host, account: str) -> None:
    host.remove_user(account, missing_ok=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("create", "suspend", "unsuspend", "change-package", "terminate"):
        one = verbs.add_parser(verb)
        one.add_argument("account")
        if verb in ("create", "change-package"):
            one.add_argument("--package", required=True)
        if verb == "create":
            one.add_argument("--key", dest="keys", action="append", default=[])
        if verb == "suspend":
            one.add_argument("--message", default="Your bill is not paid.")
    return parser.parse_args()


def main() -> int:
    given = vars(arguments())
    action = globals()[given.pop("verb").replace("-", "_")]
    deadline = time.monotonic() + SECONDS
    with Host.open() as host:
        while True:
            try:
                action(host, **given)
                print("success")
                return 0
            except JailkitError as error:
                # somebody else works on this account, or on the account files: that ends by itself
                if error.code.startswith("busy.") and time.monotonic() < deadline:
                    time.sleep(1)
                    continue
                print(f"{error.code}: {error.message}")
                return error.exit_number


if __name__ == "__main__":
    sys.exit(main())
