"""Progress for people: estimates, the lines of a pipe, the table of a terminal."""

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress

import pytest
from rich.console import Console

from ptycho_lib.study.execution.display import Lines, LiveTable, RunProgress, Tally, duration, watcher_for
from ptycho_lib.study.execution.notebook_process import Ending
from ptycho_lib.study.execution.plan import plan_study
from ptycho_lib.study.folder.progress import all_epochs, current_cell, last_epoch
from tests.support.miniature import Miniature, wait_for


@pytest.fixture
def runs(tmp_path):
    study = Miniature(tmp_path)
    config = study.config(models=("pinn", "baseline"))
    plan = plan_study(study.train, study.test, study.out, config, template=study.template)
    for run in plan.runs:
        (run.folder / "execution").mkdir(parents=True)
    return plan.runs


def epoch(number, seconds, model="pinn", epochs=10):
    return {"time": seconds, "model": model, "epoch": number, "epochs": epochs, "loss": 0.5, "val_loss": 1.0}


def report(run, *lines):
    path = run.folder / "execution" / "progress.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_last_whole_line_counts(runs):
    path = report(runs[0], epoch(1, 100.0), epoch(2, 110.0))
    with path.open("a") as stream:
        stream.write('{"time": 120, "ar')
    assert last_epoch(runs[0].folder).epoch == 2
    assert [one.epoch for one in all_epochs(runs[0].folder)] == [1, 2]
    path.write_bytes(b"\xff\x00 rubbish\n[]\n")
    assert last_epoch(runs[0].folder) is None
    assert last_epoch(runs[1].folder) is None


def test_the_cell_is_read_from_the_log(runs):
    log = runs[0].folder / "execution" / "papermill.log"
    assert current_cell(runs[0].folder) is None
    log.write_text("Executing Cell 1----\nEnding Cell 1----\nExecuting Cell 12------\n")
    assert current_cell(runs[0].folder) == 12


def test_remaining_time_counts_the_epochs_of_both_models(runs):
    now = time.time()
    progress = RunProgress(runs[0], started=now - 100)
    assert progress.remaining_s(now) is None
    report(runs[0], epoch(5, now))
    progress.look()
    assert progress.step == "pinn epoch 5/10"
    # Five epochs took 100 s; five of this model and ten of the other are ahead, then the evaluation.
    assert progress.remaining_s(now, after_s=7.0) == pytest.approx(307.0)
    report(runs[0], epoch(10, now, model="baseline"))
    progress.look()
    assert progress.remaining_s(now, after_s=7.0) == pytest.approx(7.0)
    assert progress.remaining_s(now + 100, after_s=7.0) == 0.0


def test_the_estimate_is_right_after_the_first_minute_of_a_study(runs):
    """A run of 100 s, of which 10 s start, 50 s and 30 s train, 10 s evaluate; five more wait."""
    now = time.time()
    tally = Tally(total=6, started=now - 60, jobs=1)
    tally.active["n_train 4"] = progress = RunProgress(runs[0], started=now - 60)
    for number, model, seconds in ((1, "pinn", -45), (10, "pinn", 0)):
        report(runs[0], epoch(number, now + seconds, model=model))
        progress.look()
    assert tally.remaining_s(now) == pytest.approx(540, rel=0.3)


def test_the_study_as_a_whole(runs):
    now = time.time()
    tally = Tally(total=4, started=now - 60, done=1, seconds=[50.0], jobs=1)
    assert tally.remaining_s(now) == pytest.approx(150.0)
    tally.active["n_train 8"] = RunProgress(runs[1], started=now - 10)
    assert tally.remaining_s(now) == pytest.approx(150.0)
    tally.failed = 1
    assert tally.line(now) == "1/4 runs complete, 1 failed, 1 min 00 s elapsed, about 1 min 40 s remaining"
    assert Tally(total=4).remaining_s(now) is None


def test_a_pipe_gets_plain_lines(runs):
    stream = io.StringIO()
    lines = Lines(Console(file=stream), every_s=0.0)
    with lines:
        lines.begin(total=2, complete=0, jobs=1)
        lines.started(runs[0])
        report(runs[0], epoch(3, time.time()))
        lines.tick()
        lines.finished(runs[0], Ending(True, "", 12.0, 0))
        lines.started(runs[1])
        lines.finished(runs[1], Ending(False, "In [4] [bold]train[/bold]: ValueError", 3.0, 0))
    output = stream.getvalue().splitlines()
    assert output[0] == "n_train 4: started"
    assert output[1].startswith("n_train 4: pinn epoch 3/10, loss 0.5, 0 s elapsed")
    assert output[2].startswith("n_train 4: complete in 12 s; 1/2 runs complete")
    assert output[4] == "n_train 8: failed after 3 s: In [4] [bold]train[/bold]: ValueError"
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_a_live_table(runs):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    assert isinstance(watcher_for(console), LiveTable)
    with LiveTable(console, every_s=0.0) as table:
        table.begin(total=2, complete=0, jobs=1)
        table.started(runs[0])
        report(runs[0], epoch(3, time.time()))
        table.tick()
        table.finished(runs[0], Ending(True, "", 12.0, 0))
    shown = stream.getvalue()
    assert "remaining" in shown
    assert "pinn epoch 3/10" in shown
    assert "complete in 12 s" in shown
    assert not isinstance(watcher_for(Console(file=io.StringIO())), LiveTable)


def test_more_runs_than_a_terminal_has_lines_leave_room_for_the_total(runs):
    stream = io.StringIO()
    with LiveTable(Console(file=stream, force_terminal=True, width=100, height=5), every_s=0.0) as table:
        table.begin(total=9, complete=0, jobs=9)
        for run in runs:
            table.started(run)
        table.tick()
    assert f"0/9 runs complete, 0 s elapsed; {len(runs) - 1} more in progress" in stream.getvalue()


def test_waiting_for_a_place_is_said(runs):
    stream = io.StringIO()
    lines = Lines(Console(file=stream), every_s=0.0)
    lines.begin(total=2, complete=0, jobs=2)
    lines.tick()
    assert stream.getvalue() == "0/2 runs complete, 0 s elapsed; nothing in progress here\n"
    lines.started(runs[0])
    lines.finished(runs[0], Ending(True, "", 100.0, 0))
    assert lines.tally.remaining_s(time.time()) == pytest.approx(100.0)  # one worker, not two


def through_terminal(command, words, release):
    """Run a command in a terminal of 100 columns; return (exit code, all that it showed).

    The file `release` is made as soon as it has shown the words.
    """
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    variables = os.environ | {"TERM": "xterm-256color"}
    process = subprocess.Popen(list(map(str, command)), stdin=its, stdout=its, stderr=its, env=variables)
    os.close(its)
    shown = b""
    with suppress(OSError):  # EIO: the other end is closed
        while piece := os.read(ours, 65536):
            shown += piece
            if words in shown:
                release.touch()
    os.close(ours)
    return process.wait(300), shown.decode()


TRAINING = """
import json, time
for epoch in range(1, 5):
    line = {"time": time.time(), "model": "pinn", "epoch": epoch, "epochs": 4, "loss": 0.5, "val_loss": 0.6}
    run.progress_file.open("a").write(json.dumps(line) + chr(10))
    while epoch == 3 and not (Path(train_data).parent / "seen").exists():
        time.sleep(0.1)
"""


def test_the_live_table_and_the_watched_status_in_a_real_terminal(tmp_path):
    study = Miniature(tmp_path, n_train_sizes=(4,))
    study.fault(TRAINING)
    watching = study.start()
    wait_for(lambda: list(study.out.rglob("progress.jsonl")))
    status = [sys.executable, "-m", "ptycho_lib.cli.main", "status", study.out, "--watch"]
    seen = study.folder / "seen"
    code, shown = through_terminal(status, b"pinn epoch 3/4", seen)
    watching.communicate(timeout=300)
    assert code == 0
    assert re.search(r"running.*pinn epoch 3/4, loss 0.5, \d+ s ago", shown)
    assert "1 complete" in shown  # it ends by itself when the run does
    study.out = tmp_path / "again"
    seen.unlink()
    code, shown = through_terminal(study.command(), b"pinn epoch 3/4", seen)
    assert code == 0
    assert "\x1b[" in shown
    for wanted in ("pinn epoch 3/4", "elapsed", "remaining", "0/1 runs complete", "n_train 4: complete in"):
        assert wanted in shown
