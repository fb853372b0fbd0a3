"""What a start runs when a jail's image has other settings than its recipe was made from:
``python3 -I .../provision/refresh.py NAME ROOT``. So an update need not touch ten thousand recipes: each is made anew
when it is used. Exit status 0, or 1 and ``code|message|hint`` on standard output."""

import os
import sys


def main() -> int:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from jailkit.errors import JailkitError
    from jailkit.names import user_name
    from jailkit.paths import Paths
    from jailkit.provision.host import Host

    os.umask(0o022)
    host = Host(Paths(sys.argv[2]))
    try:
        host.refresh(user_name(sys.argv[1]))
    except JailkitError as error:
        print(f"{error.code}|{error.message}|{error.hint}".replace("\n", " "))
        return 1
    finally:
        host.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
