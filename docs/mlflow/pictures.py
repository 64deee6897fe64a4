"""Draw the pictures of MLflow's pages in this folder: a small table and two ablations on the digits, in headless Chromium.

Needs Debian's package chromium and `pip install -e '.[browser]'`: make pictures
"""

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from playwright.sync_api import Page, TimeoutError, sync_playwright

from pipeline.records.mlflow.content import PART
from pipeline.records.mlflow.views import KEY_PARAMETER, VIEW
from sweeps.files import sqlite_address

HERE = Path(__file__).parent
PRESYN = Path(sys.executable).with_name("presyn")
COMMANDS = (
    "table1 --digits --trials 12 --seeds 1-3",
    "ablate --digits --off no-freezing ghost --trials 3 --seeds 1-3",
)
PORT = 5899
RUNS = ".ag-row"
SHOWN = {
    "experiments": "text=search",
    "best-first": RUNS,
    "by-condition": RUNS,
    "charts": ".js-plotly-plot",
    "winner": "text=Winner",
    "comparison": ".js-plotly-plot",
}
"""Name of a picture -> what is there when its page is ready."""


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            subprocess.run([PRESYN, *command.split()], cwd=folder, check=True)
        client = MlflowClient(sqlite_address(Path(folder) / ".presyn" / "mlflow.db"))
        pages = _pages(client)
        server = subprocess.Popen([PRESYN, "mlflow-ui", "--port", str(PORT)], cwd=folder, start_new_session=True)
        try:
            _wait()
            with sync_playwright() as p:
                browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                for name, address in pages.items():
                    page = browser.new_page(viewport={"width": 1500, "height": 850})
                    page.goto(f"http://127.0.0.1:{PORT}/#{address}", wait_until="load")
                    _settle(page, SHOWN[name])
                    page.screenshot(path=HERE / f"{name}.png")
                    page.close()
                browser.close()
        finally:
            server.terminate()
            server.wait()


def _pages(client: Any) -> dict[str, str]:
    """Name of a picture -> address of the page."""
    kind = "workflowType=machine_learning"
    ids = {e.name: e.experiment_id for e in client.search_experiments()}

    def runs(experiment: str, where: str) -> list[Any]:
        return list(client.search_runs([ids[experiment]], where))

    search = f"tags.{PART} = 'search/presynaptic-permuted-digits'"
    trials = ",".join(f'"{run.info.run_id}"' for run in runs("search", f"{search} and attributes.status = 'FINISHED'"))
    parent = next(run for run in runs("search", "tags.presyn_parent != ''") if "permuted-digits" in run.info.run_name)
    views = client.get_experiment(ids["search"]).tags
    best = next(key.removeprefix(VIEW) for key, value in views.items() if "Best first: presynaptic-permuted" in value)
    return {
        "experiments": f"/experiments?{kind}",
        "best-first": f"/experiments/{ids['search']}/runs?{KEY_PARAMETER}={best}&{kind}",
        "by-condition": f"/experiments/{ids['table1']}/runs?{KEY_PARAMETER}=presyn-by-condition&{kind}",
        "charts": f"/experiments/{ids['search']}/runs?{KEY_PARAMETER}={best}&compareRunsMode=CHART&{kind}",
        "winner": f"/experiments/{ids['search']}/runs/{parent.info.run_id}?{kind}",
        "comparison": f'/compare-runs?runs=[{trials}]&experiments=["{ids["search"]}"]&{kind}',
    }


def _wait() -> None:
    until = time.monotonic() + 600
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2)
            return
        except OSError:
            time.sleep(1)
    raise SystemExit("MLflow did not start.")


def _settle(page: Page, shown: str) -> None:
    """Wait until the page shows what it is to show, and close what MLflow opens by itself."""
    page.wait_for_selector(shown, timeout=180_000)
    with contextlib.suppress(TimeoutError):
        page.get_by_role("button", name="Close").last.click(timeout=2000)
    page.wait_for_timeout(10_000)  # charts are drawn one after the other


if __name__ == "__main__":
    main()
