"""A host with real servers behind the connectors, and users whose templates let them in or not.

    ann, ben    template "connected": all four connectors
    cut         template "shell": none
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from .host import Host, Process, wait_for
from .host.observe import Seen

WORKER = 699_934_463
CONNECTORS = ("dns", "mysql", "postgresql", "syslog")
NAME, ADDRESS = "db.example", "192.0.2.7"
MYSQL, POSTGRES = "/run/mysqld", "/run/postgresql"


class Connected:
    """The host, and its servers as they run now."""

    def __init__(self, host: Host, stack: contextlib.ExitStack) -> None:
        self.host, self._stack = host, stack
        self.resolver: Process | None = None

    # -- users

    def template(self, name: str, connectors: Sequence[str], network: str = "none") -> None:
        """A template of the administrator's: the shell's with connectors."""
        place = self.host.root / f"etc/jailctl/templates/{name}"
        shutil.copytree(self.host.root / "opt/jailctl/templates/shell", place)
        text = (place / "template.toml").read_text()
        wanted = ", ".join(f'"{each}"' for each in connectors)
        text = text.replace('name = "shell"', f'name = "{name}"').replace(
            'network = "none"', f'network = "{network}"\nconnectors = [{wanted}]'
        )
        (place / "template.toml").write_text(text)

    def user(self, name: str, template: str) -> None:
        key = f"{self.host.key(name)}.pub"
        self.host.jailctl("add-user", name, "--template", template, "--key", key)

    def says(self, user: str, command: str, timeout: float = 30) -> str:
        """Output and errors of a command in the user's jail."""
        done = self.host.ssh(user, f"{{ {command}; }} 2>&1", timeout=timeout)
        return done.stdout + done.stderr

    # -- servers

    def shell(self, command: str, timeout: float = 60) -> str:
        return self.host.run(["/bin/sh", "-ec", command], check=True, timeout=timeout).stdout

    def start(self, argv: Sequence[str], ready: Path, user: str | None = None) -> Process:
        process = self.host.spawn(argv, user=user)
        self._stack.callback(process.close)
        wait_for(lambda: ready.exists() or process.poll() is not None, 30, f"{argv[0]} does not start")
        assert process.poll() is None, process.stderr and process.stderr.read()
        return process

    def mysql(self) -> Process:
        """With the accounts of the users, who are who the kernel says they are (unix_socket)."""
        if not (self.host.root / "var/lib/mysql").exists():
            self.shell(
                "install -d -o mysql -g mysql -m 755 /run/mysqld /var/lib/mysql;"
                "mariadb-install-db --user=mysql --auth-root-authentication-method=socket --skip-test-db"
            )
        socket = f"{MYSQL}/mysqld.sock"
        (self.host.root / socket[1:]).unlink(missing_ok=True)
        process = self.start(
            ["/usr/sbin/mariadbd", "--user=mysql", "--skip-networking", f"--socket={socket}", "--skip-log-bin",
             "--innodb-buffer-pool-size=8M"], self.host.root / socket[1:],
        )  # fmt: skip
        ping = ["/usr/bin/mariadb-admin", "ping"]
        wait_for(lambda: self.host.run(ping).returncode == 0, 30, "MariaDB does not answer")
        for user in ("ann", "ben", "cut"):
            self.shell(f"mariadb -e 'create user if not exists {user}@localhost identified via unix_socket'")
        return process

    def postgresql(self) -> Process:
        (bin,) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
        data = "/var/lib/postgresql/data"
        if not (self.host.root / data[1:]).exists():
            self.shell(
                f"install -d -o postgres -g postgres -m 2775 {POSTGRES}; install -d -o postgres /var/lib/postgresql;"
                f"runuser -u postgres -- {bin}/initdb -D {data} --auth=peer --no-sync"
            )
        process = self.start(
            [f"{bin}/postgres", "-D", data, "-k", POSTGRES, "-c", "listen_addresses="],
            self.host.root / POSTGRES[1:] / ".s.PGSQL.5432", user="postgres",
        )  # fmt: skip
        psql = "runuser -u postgres -- psql -d postgres -Atc"
        wait_for(lambda: self.host.run(["/bin/sh", "-c", f"{psql} 'select 1'"]).returncode == 0, 30)
        for user in ("ann", "ben", "cut"):
            self.host.run(["/bin/sh", "-c", f"{psql} 'create role {user} login'"])
        return process

    def resolve(self, address: str = ADDRESS, listen: str = "127.0.0.1") -> None:
        """dnsmasq, which knows one name, and a text that is too long for UDP, in place of what ran before."""
        if self.resolver is not None:
            self.resolver.close()
        long = "".join(f"txt-record=long.example,{letter}{'x' * 250}\n" for letter in "abcdefghijkl")
        (self.host.root / "etc/dnsmasq.conf").write_text(
            f"no-resolv\nno-hosts\nlisten-address={listen}\nbind-interfaces\nuser=root\npid-file=/run/dnsmasq.pid\n"
            f"local=/example/\naddress=/{NAME}/{address}\n{long}"
        )
        (self.host.root / "run/dnsmasq.pid").unlink(missing_ok=True)
        self.resolver = self.start(["/usr/sbin/dnsmasq", "-k"], self.host.root / "run/dnsmasq.pid")
        (self.host.root / "etc/resolv.conf").write_text(f"nameserver {listen}\nsearch example\n")

    # -- the relay

    def relay(self) -> list[Seen]:
        """Its processes: parent, worker."""
        found = [p for p in self.host.processes() if any(arg.endswith("/relay/main.py") for arg in p.argv)]
        return sorted(found, key=lambda process: process.uids[0])

    def served(self) -> tuple[Seen, Seen]:
        """Parent and worker, once both are there."""
        wait_for(lambda: len(self.relay()) == 2, 5, lambda: f"{len(self.relay())} processes of the relay")
        parent, worker = self.relay()
        return parent, worker


@contextlib.contextmanager
def connected() -> Iterator[Connected]:
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(Host())
        host.jailctl("setup", "--no-login-test")
        made = Connected(host, stack)
        made.resolve()
        made.template("connected", CONNECTORS)
        for user in ("ann", "ben"):
            made.user(user, "connected")
        made.user("cut", "shell")
        yield made
