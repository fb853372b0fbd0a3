"""Templates with a writable root, made from the shipped `shell` on a throw-away host."""

from __future__ import annotations

from .host import Host

HERS = "/srv/work"
"""The directory that is hers in them; the image has files in it."""


def template(host: Host, name: str, root: str, extra: str = "", writable: str = f'["{HERS}"]') -> None:
    """Template ``name`` and its image. root: "readonly", "overlay", "ephemeral". extra: TOML for the end of the file,
    such as ``[[run]]`` tables."""
    top = host.root / "etc/jailctl/templates" / name
    host.run(["/bin/rm", "-rf", f"/etc/jailctl/templates/{name}"], check=True)
    host.run(["/bin/cp", "-r", "/opt/jailctl/templates/shell", f"/etc/jailctl/templates/{name}"], check=True)
    text = (top / "template.toml").read_text().replace('name = "shell"', f'name = "{name}"')
    if root != "readonly":
        text = text.replace("\nshell =", f'\nroot = "{root}"\nwritable = {writable}\nshell =')
    (top / "template.toml").write_text(text + extra)
    for path, content in (("keep", "one\n"), ("change", "two\n"), ("remove", "three\n"), ("sub/below", "four\n")):
        file = top / "files" / HERS.lstrip("/") / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    host.jailctl("update", name, timeout=120)
