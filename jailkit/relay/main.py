"""What the start of a jail runs when it needs the relay and there is none: ``python3 -I -S .../relay/main.py ROOT``,
with the listening socket as standard input. Started by path and without site, as jail/cold.py is.

It may have been started for somebody's login: nothing of that session is kept (jail/connect.py has made it leader of a
session of its own, with fresh signals and environment)."""

import os
import sys


def main() -> int:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    import _socket

    from jailkit.kernel import proc
    from jailkit.paths import Paths
    from jailkit.relay.parent import Parent

    os.umask(0o077)
    os.closerange(3, 1 << 30)
    _own_limits()
    proc.fresh_session_keyring()
    listener = _socket.socket(fileno=os.dup(0))
    os.dup2(1, 0)
    parent = Parent(Paths(sys.argv[1]), listener)
    _own_place()
    parent.run()
    return 0


def _own_limits() -> None:
    """Those of a login's session (pam_limits) are not meant for what serves the whole host. In a container root may be
    unable to raise them: then we serve as many jails as they let us."""
    import resource

    from jailkit.relay.limits import DESCRIPTORS

    for what in (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_DATA):
        most = DESCRIPTORS if what == resource.RLIMIT_NOFILE else resource.RLIM_INFINITY
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):
            hard = resource.getrlimit(what)[1]
            resource.setrlimit(what, (hard, hard))
    os.nice(-os.nice(0))
    # its death would close the sockets of all jails; and what it does is not the doing of whose login started it
    for name, value in (("oom_score_adj", "-900"), ("loginuid", "4294967295")):
        try:
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(value)
        except OSError:
            continue


def _own_place() -> None:
    """Out of the control group of the session, which may be ended as a whole. Where that cannot be done, we are there
    until then, and the log says so."""
    from jailkit.errors import JailkitError
    from jailkit.jail import slices

    try:
        slices.place_service("relay", os.getpid())
    except (JailkitError, OSError) as error:
        _say(f"stays in the control group of who started it: {error}")


def _say(text: str) -> None:
    import syslog

    syslog.openlog("jailctl-relay", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_ERR, text)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception as error:  # nobody sees standard error
        _say(f"ended: {type(error).__name__}: {error}")
        raise
