"""Write docs/reference/configuration.md from the docstrings, defaults and limits in ptycho_lib/config.py.

Usage: python docs/make_configuration.py [--check]
With --check nothing is written; the exit code is 1 if the page is out of step.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptycho_lib.config import StudyConfig

PAGE = Path(__file__).with_name("reference") / "configuration.md"

HEAD = """\
# Configuration

<!-- Generated from ptycho_lib/config.py by `make docs`; edit the docstrings there. -->

A study is configured by one YAML file: `ptycho-study run … --config study.yaml`. Every setting has a default;
a file names only what it changes. An unknown name or a value outside its limits is refused before anything
starts, and the resolved settings, defaults included, are written to `study.yaml` in the study's folder.

```yaml
name: my_beamtime
n_train_sizes: [128, 256, 512]
training:
  steps: 1600
conditions:
  - name: low_dose
    photons_factor: 0.1
```
"""

_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def page() -> str:
    """Return the whole page."""
    schema = StudyConfig.model_json_schema()
    sections = schema.get("$defs", {})
    parts = [HEAD, "## The study\n", "\n".join(_table(schema, sections)), ""]
    for key, setting in schema["properties"].items():
        name = _section(setting)
        if name:
            each = " The setting is a list; each entry has these settings." if setting.get("type") == "array" else ""
            section = sections[name]
            parts += [
                f"## `{key}`\n",
                section.get("description", "") + f"{each}\n",
                "\n".join(_table(section, sections)),
                "",
            ]
    parts += ["## All defaults\n", "```yaml", StudyConfig().to_yaml().rstrip(), "```", ""]
    return "\n".join(parts)


def _section(setting: dict[str, Any]) -> str | None:
    """Return the name of the section that a setting holds, if it holds one."""
    reference = setting.get("$ref") or setting.get("items", {}).get("$ref")
    return reference.rsplit("/", 1)[-1] if reference else None


def _table(schema: dict[str, Any], sections: dict[str, Any]) -> Iterator[str]:
    yield "| setting | value | default | meaning |"
    yield "|---|---|---|---|"
    required = schema.get("required", [])
    for key, setting in schema["properties"].items():
        name = _section(setting)
        if name:
            meaning = setting.get("description") or sections[name].get("description", "")
            yield f"| [`{key}`](#{key}) | section | | {_cell(meaning)} |"
            continue
        default = "required" if key in required else f"`{json.dumps(setting.get('default'))}`"
        meaning = _cell(setting.get("description", ""))
        yield f"| `{key}` | {_value(setting)} | {default} | {meaning} |"


def _value(setting: dict[str, Any]) -> str:
    """Say in words which values a setting takes."""
    if "anyOf" in setting:
        return " or ".join(_value(option) for option in setting["anyOf"])
    if "enum" in setting:
        return ", ".join(f"`{choice}`" for choice in setting["enum"])
    if "const" in setting:
        return f"`{setting['const']}`"
    if setting["type"] == "array":
        least = f", at least {setting['minItems']}" if "minItems" in setting else ""
        return f"list of {_value(setting['items'])}{least}"
    if setting["type"] == "object":
        names, weight = setting["propertyNames"], setting["additionalProperties"]
        return f"name or mapping of {_value(names)} to {_value(weight)}"
    limits = ", ".join(f"{sign} {setting[limit]}" for limit, sign in _LIMITS.items() if limit in setting)
    if "pattern" in setting:
        limits = f"`{setting['pattern']}`"
    return f"{setting['type']} {limits}".strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write or check the page; return the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__)
        return 2
    text = page()
    if arguments:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            print(f"{PAGE.name} is out of step with ptycho_lib/config.py; run `make docs`.")
            return 1
        return 0
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
