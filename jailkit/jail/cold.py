"""What the hook runs, as root, for a login into a cold jail: ``python3 -I -S .../jail/cold.py NAME SERVICE ROOT
RHOST``.

Started by path and without site, so that nothing is imported but what starting needs. Exit status: 0 started, 3 no such
jail, 4 disabled, 5 a PAM service that opens no session here, 6 to 8 not at this hour, from there, any more; 1 anything
else; the reason goes to the system log.
"""

import os
import sys

_REFUSED = {"login.hours": 6, "login.source": 7, "login.expired": 8}


def main() -> int:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from jailkit.errors import JailkitError
    from jailkit.jail import recipe as recipes
    from jailkit.jail.limits import refusal
    from jailkit.jail.runtime import complain
    from jailkit.jail.start import start
    from jailkit.names import user_name
    from jailkit.paths import Paths

    os.umask(0o022)
    try:
        name, service, paths = user_name(sys.argv[1]), sys.argv[2], Paths(sys.argv[3])
        rhost = sys.argv[4] if len(sys.argv) > 4 else ""
        recipe = recipes.load(paths, name)
        if service not in recipe.services:
            return 5  # else each run of a forbidden cron job would start a jail
        # by a plan that has changed since, it might be another one: then the start makes a new recipe, and the hook
        # asks
        if recipe.stamp == recipes.stamp(paths, recipe.plan) and (code := refusal(recipe, service, rhost)):
            return _REFUSED[code]
        start(paths, name)
    except JailkitError as error:
        complain(f"code={error.code} {error.message}")
        return {"missing.jail": 3, "jail.disabled": 4}.get(error.code, 1)
    except Exception as error:  # noqa: BLE001 - the login must get an answer, and the log the reason
        complain(f"code=internal.start {type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
