"""Files that open the repository elsewhere: a container, a shell with completion."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_container_runs_targets_that_exist() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (\w+)", json.dumps(container)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_completion_offers_subcommands_and_options() -> None:
    code = "from ptycho_lib.cli.main import main; main(prog_name='ptycho-study')"

    def complete(words: str) -> str:
        variables = {"_PTYCHO_STUDY_COMPLETE": "bash_complete", "COMP_WORDS": words}
        variables["COMP_CWORD"] = str(len(words.split(" ")) - 1)
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=60)
        return done.stdout

    assert {"plain,reconstruct", "plain,report"} <= set(complete("ptycho-study re").split())
    assert "plain,--watch" in complete("ptycho-study reconstruct --wa")
