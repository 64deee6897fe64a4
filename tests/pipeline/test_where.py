"""Where it runs: from a wheel, in somebody's repository, in any locale, with deep folders, and interrupted twice."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.records.store import Store
from sweeps.cluster.ray_process import LONGEST_FOLDER, _short_folder

ROOT = Path(__file__).parents[2]
PLANNED = Path(__file__).parent / "planned.py"
RUN = ["run", "--method", "sgd", "--benchmark", "split-digits", "--seeds", "1", "2", "--set", "epochs=1", "tasks=2"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What a wheel holds, unpacked in somebody's repository."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True, cwd=folder)
    (made,) = folder.glob("*.whl")
    theirs = folder / "theirs"
    with zipfile.ZipFile(made) as z:
        z.extractall(theirs / "site")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "site/presyn/__init__.py"], ["commit", "-qm", "theirs"]):
        subprocess.run([*git, *words], cwd=theirs, check=True)
    return theirs


def by(words, folder, site, **environment):
    """A command of the code in a folder."""
    command = [sys.executable, "-W", "error::UserWarning", "-m", "pipeline.cli", *words]
    variables = {**os.environ, "PYTHONPATH": str(site), **environment}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, timeout=300)


def test_a_wheel_works_and_takes_nobodys_commit_for_its_own(wheel):
    done = by([*RUN, "--json"], wheel, wheel / "site")
    assert done.returncode == 0, done.stderr
    row = Store(wheel / ".presyn").get(json.loads(done.stdout)["runs"][0]["run_id"])
    assert row.provenance["git_commit"] == "unknown"
    where = "import pipeline.paper.published as p; print(p.__file__, len(p.published_table()), len(p.authors_parameters()))"
    told = subprocess.run(
        [sys.executable, "-c", where], env={**os.environ, "PYTHONPATH": str(wheel / "site")}, cwd=wheel, capture_output=True
    )
    assert str(wheel).encode() in told.stdout and told.stdout.split()[1:] == [b"20", b"14"]
    assert by(["table1", "--digits", "--dry-run"], wheel, wheel / "site").returncode == 0


def test_a_wheel_plans_what_a_clone_plans(wheel):
    def plan(folder, site):
        environment = {**os.environ, "PYTHONPATH": str(site)}
        done = subprocess.run([sys.executable, PLANNED], env=environment, cwd=folder, capture_output=True, text=True)
        return json.loads(done.stdout)

    assert plan(wheel, wheel / "site") == plan(ROOT, ROOT)


def test_output_survives_a_locale_without_its_signs(home):
    done = by(RUN, home, ROOT, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0 and b"mean accuracy" in done.stdout and done.stdout.isascii()


def test_rays_sockets_fit_under_a_deep_folder_for_temporary_files(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", "")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("x" * 60)))
    short = _short_folder()
    assert short and len(short) <= LONGEST_FOLDER and Path(short).is_dir()
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    assert _short_folder() == "/tmp"


def test_a_random_py_in_the_working_folder_does_not_stand_for_pythons_own(home):
    (home / "random.py").write_text("raise SystemExit('random.py of the working folder was imported')")
    code = "import sys; from pipeline.cli import main; sys.exit(main())"
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}"}
    done = subprocess.run([sys.executable, "-P", "-c", code, *RUN], cwd=home, env=variables, capture_output=True, timeout=300)
    assert done.returncode == 0 and b"mean accuracy" in done.stdout, done.stderr


def test_wait_says_whom_it_waits_for_and_goes_on(home, capsys, monkeypatch):
    held, free = threading.Event(), threading.Event()
    read_holder = Store.holder
    # Who holds it is asked when it is known that one has to wait; only then it is let go.
    monkeypatch.setattr(Store, "holder", lambda store: (read_holder(store), free.set())[0])

    def hold():
        with Store(home / ".presyn").locked("presyn search"):
            held.set()
            free.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(60)
    assert cli.main([*RUN, "--wait"]) == 0
    holder.join()
    told = capsys.readouterr().err
    assert "waiting for 'presyn search' (process" in told and told.count("waiting for") == 1


@pytest.mark.parametrize("gaps", [(0.0,), (0.05, 0.3)])
def test_an_interrupt_and_more_of_them_end_in_one_line(home, gaps):
    words = ["run", "--method", "presynaptic", "--benchmark", "permuted-digits", "--seeds", "1-3", "--set", "epochs=400"]
    command = [sys.executable, "-c", "import sys; from pipeline.cli import main; sys.exit(main())", *words]
    with subprocess.Popen(
        command, cwd=home, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        until = time.monotonic() + 120
        while not list((home / ".presyn").glob("stages/*")) and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        for gap in gaps:
            time.sleep(gap)
            process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
    ours = [line for line in told.decode().splitlines() if line.startswith("presyn:")]
    assert process.returncode == 130 and "Traceback" not in told.decode() and len(ours) == 1 and "stopped" in ours[0]
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_names_are_shown_as_they_are(home, here, capsys):
    Path("[red]_|&.yaml").write_text("kind: split\ndataset: digits\ntasks: 2\nepochs: 1\nhidden: [8]\nbatch_size: 20\n")
    words = ["ablate", "--off", "eta0=0.5", "--method", "sgd", "--trials", "1", "--seeds", "1", "--results", "out"]
    assert cli.main([*words, "--benchmarks", "[red]_|&.yaml"]) == 0
    captured = capsys.readouterr()
    assert "[red]_|&" in captured.out and "[red]_|&" in captured.err
