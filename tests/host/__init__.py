"""A throw-away Debian host for tests: real sshd, PAM and accounts; nothing of the machine it runs on is touched.

    with Host() as h:                       # or the fixtures `host` (one a session, set up), `fresh_host`
        h.jailctl("setup")
        h.jailctl("add-user", "alice", "--key", h.key("alice") + ".pub")
        done = h.ssh("alice", "id -un")     # CompletedProcess of text
        with h.ssh_terminal("alice") as term:
            term.sendline("tty")
            term.expect("/dev/pts/[0-9]+")
        h.run(["/bin/su", "-", "alice", "-c", "id"]), h.run([...], user="bob")
        h.spawn([...]), h.terminal([...])   # ones that go on; a terminal is pexpect's
        h.sftp("alice", "ls\\n"), h.scp("alice", ["/etc/motd"], ":")
        h.processes()                       # what the kernel says of each, seen from outside (observe.Seen)
        h.root / "etc/passwd"               # its files from outside
        h.syslog("jailctl-hook"), h.wait_syslog("refused")
        h.sshd_restart(config=...)

It is a set of namespaces (mount, pid, uts, ipc, net, cgroup) with pid 1 of its own (agent.py). No user namespace: its
root is the machine's root, as the product needs to be; so what is not namespaced is shared (clock, sysctls but net's,
keyrings, user ids and their limits), and a test must not change it.

    /                overlay: golden layers (golden.py: a fresh Debian, then ./install run in it) below, memory above
    /usr             the machine's own, read-only; a real file system, as jails bind it idmapped (overlays refuse that)
    /usr/local /usr/share/pam-configs /home /run /tmp /var/lib/jailctl /dev     memory
    /sys/fs/cgroup   a group of its own in each hierarchy that the machine has, v1 or v2
    network          a loopback interface and nothing else

Made in a fifth of a second, gone in less. When the test process dies, however it dies, so does the host (boot.py).
"""

from .host import Host, wait_for
from .process import Process, Terminal

__all__ = ["Host", "Process", "Terminal", "wait_for"]
