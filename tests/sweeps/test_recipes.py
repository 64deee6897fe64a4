"""The recipes for clusters, as far as they can be checked without one: syntax, schemas, and that what they call exists."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.cli import make_app

RECIPES = Path(__file__).parents[2] / "sweeps" / "cluster"
SCRIPTS = ["slurm.sbatch", "machines.sh"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_shell_is_sound(name):
    assert subprocess.run(["bash", "-n", RECIPES / name], capture_output=True).returncode == 0
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", RECIPES / name], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_settings_of_the_environment_reach_the_first_machine(tmp_path):
    (tmp_path / "ssh").write_text(f'#!/bin/bash\necho "$@" >> {tmp_path}/said\n')
    (tmp_path / "ssh").chmod(0o755)
    given = {"PRESYN_DATA": "/my data", "MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **given}
    done = subprocess.run([RECIPES / "machines.sh", "a", "b", "--", "table1"], env=environment, capture_output=True)
    (command,) = [line for line in (tmp_path / "said").read_text().splitlines() if "bin/presyn" in line]
    assert done.returncode == 0 and command.startswith("a ") and "PRESYN_DATA=/my\\ data" in command
    assert "MLFLOW_TRACKING_URI=http://mlflow:5000" in command and "PRESYN_CHECKPOINTS" not in command


def test_the_cloud_cluster_is_one_that_ray_accepts():
    import jsonschema
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load((RECIPES / "ray-up.yaml").read_text()), schema)


def test_the_job_for_kubernetes_mounts_the_store_everywhere():
    claim, job = yaml.safe_load_all((RECIPES / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert spec["backoffLimit"] > 0 and spec["ttlSecondsAfterFinished"] > 0 and spec["shutdownAfterJobFinishes"]
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert pod["containers"][0]["volumeMounts"] == [{"name": "store", "mountPath": "/store"}]
    program, *words = spec["entrypoint"].split()
    _, arguments, _ = make_app().parse_args(words, exit_on_error=False, print_error=False)
    assert program == "presyn" and arguments.arguments["store"].store.startswith("/store")


def test_ray_is_the_version_that_is_pinned():
    pinned = re.search(r"^ray==(.+)$", (RECIPES.parents[1] / "constraints.txt").read_text(), re.M)[1]
    _, job = yaml.safe_load_all((RECIPES / "rayjob.yaml").read_text())
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned


def test_options_that_recipes_use_exist():
    text = "".join(p.read_text() for p in RECIPES.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc"))
    said = subprocess.run([Path(sys.executable).parent / "ray", "start", "--help"], capture_output=True, text=True).stdout
    for option in re.findall(r"ray start (.*)", text):
        for name in re.findall(r"--[a-z-]+", option):
            assert name in said, name
    server = subprocess.run([sys.executable, "-m", "mlflow", "server", "--help"], capture_output=True, text=True).stdout
    compose = yaml.safe_load((RECIPES / "mlflow" / "compose.yaml").read_text())
    options = re.findall(r"--[a-z-]+", compose["services"]["mlflow"]["command"])
    assert options and all(o in server for o in options)


def test_the_server_of_a_group_answers_to_the_name_that_is_set():
    """By the rules of MLflow's server: by other names than those it was told it refuses (403) requests, and pages that ask."""
    from mlflow.server.security_utils import is_allowed_host_header, should_block_cors_request

    words = yaml.safe_load((RECIPES / "mlflow" / "compose.yaml").read_text())["services"]["mlflow"]["command"].split()
    words = [re.sub(r"\$\{MLFLOW_NAME[^}]*\}", "mlflow.lab.org", word) for word in " ".join(words).split(" --")]
    options = dict(word.split(" ", 1) for word in words if " " in word)
    hosts, origins = (options[name].split(",") for name in ("allowed-hosts", "cors-allowed-origins"))
    assert all(is_allowed_host_header(hosts, name) for name in ("mlflow.lab.org:5000", "mlflow.lab.org", "localhost:5000"))
    assert not is_allowed_host_header(hosts, "elsewhere.org:5000")
    assert not should_block_cors_request("http://mlflow.lab.org:5000", "POST", origins)
    assert should_block_cors_request("http://elsewhere.org", "POST", origins)
    assert "MLFLOW_NAME=" in (RECIPES / "mlflow" / ".env.example").read_text()


def test_the_image_plans_what_a_clone_plans(tmp_path):
    """The Dockerfile's copies into an empty folder, from which the command runs."""
    root = RECIPES.parents[1]
    image = tmp_path / "presyn"
    for line in (RECIPES / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            *sources, target = line.split()[1:]
            for source in sources:
                there = image / target
                if (root / source).is_dir():
                    shutil.copytree(root / source, there, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    there.mkdir(parents=True, exist_ok=True) if target.endswith("/") else None
                    shutil.copy(root / source, there)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(image), "PRESYN_COMMIT": "abc"}
    planned = root / "tests" / "pipeline" / "planned.py"

    def run(*words, folder=image, **more):
        return subprocess.run([sys.executable, *words], cwd=folder, env={**env, **more}, capture_output=True, text=True)

    of_image, of_clone = run(planned), run(planned, folder=root, PYTHONPATH=str(root))
    assert of_image.returncode == 0, of_image.stderr
    assert json.loads(of_image.stdout) == json.loads(of_clone.stdout)
    code = "import pipeline.cli, sys; print(pipeline.__file__); sys.exit(pipeline.cli.main(sys.argv[1:]))"
    done = run("-c", code, "table1", "--digits", "--dry-run")
    assert done.returncode == 0 and str(image) in done.stdout, done.stderr
    assert "without ewc on permuted-digits, split-digits" in done.stderr, "a plan says which rows it leaves out"


def test_the_job_fills_its_empty_volume_with_images_before_it_begins():
    _, job = yaml.safe_load_all((RECIPES / "rayjob.yaml").read_text())
    pod = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    (step,) = pod["initContainers"]
    assert step["volumeMounts"] == pod["containers"][0]["volumeMounts"]
    folder = re.search(r"--data (\S+)", job["spec"]["entrypoint"])[1]
    code = compile(step["command"][-1], "the step", "exec")
    assert folder in code.co_consts and "MNIST" in code.co_names and "FashionMNIST" in code.co_names
