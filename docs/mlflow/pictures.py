"""Draw the pictures of MLflow's pages in this folder: a small table and two ablations on the digits, in headless Chromium.

Needs Debian's package chromium and `pip install -e '.[browser]'`: make pictures
"""

import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from playwright.sync_api import Page, sync_playwright

from sweeps.files import sqlite_address

HERE = Path(__file__).parent
PRESYN = Path(sys.executable).with_name("presyn")
COMMANDS = (
    "table1 --digits --trials 6 --seeds 1-3",
    "ablate --digits --off no-freezing ghost --trials 3 --seeds 1-3",
)
PORT = 5899
COLUMNS = ("mean_accuracy", "forgetting", "ablation", "p_up")


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder:
        for words in COMMANDS:
            subprocess.run([PRESYN, *words.split()], cwd=folder, check=True)
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
                    _tidy(page, name)
                    page.screenshot(path=HERE / f"{name}.png")
                    page.close()
                browser.close()
        finally:
            server.terminate()
            server.wait()


def _pages(client: Any) -> dict[str, str]:
    """Name of a picture -> address of the page."""
    ids = {e.name: e.experiment_id for e in client.search_experiments()}
    of = "workflowType=machine_learning"
    tables = client.search_runs([ids["table1"]], "tags.presyn_parent != ''")
    ablations = {r.data.tags["ablation"]: r for r in client.search_runs([ids["ablations"]], "tags.run_id != ''")}
    two = ",".join(f'"{ablations[name].info.run_id}"' for name in ("full", "no-freezing"))
    return {
        "experiments": f"/experiments?{of}",
        "runs": f"/experiments/{ids['ablations']}/runs?{of}",
        "table": f"/experiments/{ids['table1']}/runs/{tables[0].info.run_id}/artifacts/table.json?{of}",
        "comparison": f'/compare-runs?runs=[{two}]&experiments=["{ids["ablations"]}"]&{of}',
    }


def _wait() -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2)
            return
        except OSError:
            time.sleep(1)
    raise SystemExit("MLflow did not start.")


def _tidy(page: Page, name: str) -> None:
    """Close what MLflow opens by itself, and show the columns that say something."""
    page.wait_for_timeout(5000)
    page.get_by_role("button", name="Close").last.click()
    if name == "runs":
        page.get_by_role("button", name="Columns").first.click()
        for column in ("Dataset", "Source", "Models", *COLUMNS):
            page.get_by_placeholder("Search columns").fill(column)
            page.wait_for_timeout(600)
            page.get_by_text(column, exact=True).last.click()
        page.keyboard.press("Escape")
        page.get_by_text("Runs", exact=True).last.click()
        page.locator(".ag-row [role=button], .ag-row button").first.click()
    page.wait_for_timeout(3000)


if __name__ == "__main__":
    main()
