"""``jailctl template schema``"""

from __future__ import annotations

from ..output import Settings, emit
from ..verb import verb

_EXAMPLES = """
jailctl template schema > template.schema.json
        then, as the first line of template.toml: #:schema ./template.schema.json
"""


@verb(
    "Print the JSON Schema of template.toml, by which an editor completes keys, shows what each means, and marks "
    "mistakes (those that know TOML, such as taplo's plug-ins).",
    _EXAMPLES,
    needs_root=False,
)
def command(settings: Settings) -> None:
    from ...spec.schema import template_schema

    if not settings.quiet:
        emit(template_schema())
