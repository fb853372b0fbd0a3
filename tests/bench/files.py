"""What a transfer costs in a jail with files only, beside one in a jail with a shell and one without a jail: one run.

    sudo /var/tmp/jailkit-tests/venv/bin/python -m tests.bench.files [--logins 30]

``sftp -b`` over a new connection to a throw-away host: read the ratios.
"""

from __future__ import annotations

import argparse
import time

from tests.host import Host

from .login import Bench, Times, _pss

USERS = {"unjailed": "plain", "shell (namespaces)": "inside", "files only (chroot)": "files"}


class Files(Bench):
    def users(self) -> None:
        h = self.host
        h.run(["/usr/sbin/useradd", "-m", "-s", "/bin/bash", "-p", "*", "plain"], check=True)
        h.run(["/usr/bin/install", "-d", "-o", "plain", "-g", "plain", "-m", "700", "/home/plain/.ssh"], check=True)
        (h.root / "home/plain/.ssh/authorized_keys").write_text(h.public_key("plain") + "\n")
        for user, template in (("inside", "shell"), ("files", "sftp-only")):
            h.jailctl("add-user", user, "--template", template, "--key", f"{h.key(user)}.pub", "--set", "linger=600")
        (h.root / "root/batch").write_text("put /etc/services s\nls -l\nget s /dev/null\nrm s\n")

    def _argv(self, user: str) -> list[str]:
        return ["/root/batch" if word == "-" else word for word in self.host.sftp_argv(user)]

    def transfers(self) -> None:
        count = self.args.logins
        warm = self._inside_rounds({name: self._argv(user) for name, user in USERS.items()}, count)
        self._table("sftp -b, four commands, a new connection, warm", warm, "unjailed", count)
        cold: Times = {name: [] for name in USERS}
        for _ in range(count):
            self.host.jailctl("stop", "inside", "files")
            for name, user in USERS.items():
                cold[name] += self._inside_rounds({name: self._argv(user)}, 1, warm_up=0)[name]
        self._table("the same, the jail is cold", cold, "unjailed", count)

    def memory(self) -> None:
        """All that is there for one open session: hers, sshd's, and what keeps the jail."""
        print("\none open sftp session (KiB PSS; processes)")
        for name, user in USERS.items():
            self.host.jailctl("stop", "inside", "files")
            before = {process.pid for process in self.host.processes()}
            with self.host.spawn(self.host.sftp_argv(user)) as client:
                assert client.stdin and client.stdout
                client.stdin.write(b"pwd\n")
                client.stdout.readline()
                time.sleep(0.5)
                seen = [p for p in self.host.processes() if p.pid not in before and p.argv[:1] and p.name != "sftp"]
                seen = [p for p in seen if not p.argv[0].startswith("/usr/bin/ssh")]
                print(f"  {name:24}{sum(_pss(p.pid) for p in seen):7}  {len(seen)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logins", type=int, default=30, help="connections of each kind")
    args = parser.parse_args()
    with Host() as host:
        host.jailctl("setup", timeout=120)
        bench = Files(host, args)
        bench.users()
        bench.transfers()
        bench.memory()


if __name__ == "__main__":
    main()
