"""The page for readers: made of the committed rows, whole without a network, and never of a row that was changed."""

import re
import shutil
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from pipeline.cli import main
from pipeline.experiments.catalogue import CLAIMING, report, shown_stages
from pipeline.experiments.report.content import forest_of
from pipeline.experiments.report.page import render
from pipeline.experiments.search.section import shape_search
from pipeline.experiments.verdicts.by_claim import by_claim
from pipeline.experiments.verdicts.conclusions import BEGIN, END, TABLE_BLOCK, as_markdown, fill_blocks, sentence
from pipeline.experiments.verdicts.stage import all_verdicts
from pipeline.paper.published import claim_list
from pipeline.records.csvs import read_rows, rows_csv
from pipeline.records.files import content_bytes
from pipeline.records.results import Results
from pipeline.records.store import Store
from pipeline.report.verdicts import Verdict
from pipeline.stage import Known
from presyn import PresynError, Record, make_run
from presyn.benchmarks import find_benchmark

RESULTS = Path(__file__).parents[2] / "results"
RECORD = Record("finished", accuracy=[[0.5]], loss=[1.0], seconds=[1.0], ended=[2.0]).as_dict()


class Seen(HTMLParser):
    """Ids, links, pictures and headings of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.pictures, self.heads = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        self.ids += [a["id"]] if "id" in a else []
        self.links += [a["href"]] if tag == "a" else []
        self.pictures += [a] if tag == "img" else []
        self.heads += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []


@pytest.fixture(scope="module")
def found():
    return all_verdicts(Results(RESULTS), CLAIMING)


@pytest.fixture(scope="module")
def made(found):
    """The files of the page, made of the committed rows."""
    return report().make(pd.DataFrame(), Known(values={"verify": found}, results=Results(RESULTS))).files


def test_the_committed_page_is_the_one_that_the_rows_make(made):
    for name, content in made.items():
        path = RESULTS / "report" / name
        if path.suffix != ".png":  # the same figures are there as SVG
            assert path.read_bytes() == content_bytes(content, path), f"{name}: run make report and commit it"
    there = {p.relative_to(RESULTS / "report").as_posix() for p in (RESULTS / "report").rglob("*.*")}
    assert there == {name for name in made if not name.startswith("..")}


def test_verify_names_tables_figures_and_pages_that_are_not_what_the_rows_make(home, capsys):
    for folder in ("perceptron", "paper"):
        shutil.copytree(RESULTS / folder, Path("results") / folder)
    assert main(["report"]) == 0 and main(["verify"]) == 0
    assert "presyn report" not in capsys.readouterr().err
    page, table, figure = (
        Path("results") / name for name in ("report/index.html", "perceptron/table.csv", "figures/fig5b.svg")
    )
    kept = {path: path.read_text() for path in (page, table, figure)}
    page.write_text(kept[page].replace("perceptron", "perceptr0n"))
    assert main(["verify"]) == 0
    assert "The page was made of other rows: results/report/index.html." in capsys.readouterr().err
    for path in (table, figure):
        path.write_text(kept[path].replace("1", "2", 1))
        assert main(["verify"]) == 1 and f"Not what the rows make: {path}." in capsys.readouterr().err
        path.write_text(kept[path])
    table.write_text("nonsense")
    assert main(["report"]) == 0 and table.read_text() == kept[table] and main(["verify"]) == 0


def test_the_page_is_made_twice_and_its_parent_in_mlflow_ends(home, client, capsys):
    """Its files lie outside its own folder as well: beside it, above it, and in the README. Names are what they are."""
    for folder in ("perceptron", "paper"):
        shutil.copytree(RESULTS / folder, Path("results") / folder)
    odd = replace(find_benchmark("split-digits"), name="a(", tasks=1)
    row = Store(home / "other").put("x", make_run("sgd", odd, 1), "d", RECORD, {"host": "h", "device": "cpu"})
    row = replace(row, run_id=make_run("sgd", odd, 1).run_id("d"))
    Path("results/table1").mkdir()
    Path("results/table1/runs.csv").write_text(rows_csv([({"stage": "table1", "parameters": "as_published"}, row)]))
    Path("README.md").write_text(f"{BEGIN}\n{END}\n")
    for words in (["report"], ["report"], ["sync-mlflow"]):
        assert main(words) == 0
        said = capsys.readouterr().err
        assert "not put into MLflow" not in said and "is not written" not in said
        runs = {r for e in client.search_experiments() for r in client.search_runs([e.experiment_id])}
        assert {r.info.status for r in runs} == {"FINISHED"} and len(runs) == 2, "verdicts and the page"
    (page,) = client.search_runs([client.get_experiment_by_name("report").experiment_id])
    names = {entry.path for entry in client.list_artifacts(page.info.run_id)}
    assert {"index.html", "README.md", "ro-crate-metadata.json", "figures"} <= names
    assert "a(" in Path("results/report/runs.html").read_text()
    readme = Path("README.md").read_text()
    shutil.copytree("results/perceptron", "my-results/perceptron")
    assert main(["report", "--results", "my-results"]) == 0
    assert Path("README.md").read_text() == readme, "rows of other seeds make a page of their own alone"
    Path("results/seeds").mkdir()
    Path("results/seeds/mine.csv").write_bytes(b"run_id,config\n\xff,1\n")
    for command in ("report", "verify", "import"):
        assert main([command]) == 1
        assert "results/seeds/mine.csv is not a CSV of runs: it is not a text file in UTF-8." in capsys.readouterr().err


def test_it_is_small_and_asks_no_other_host_for_anything(made):
    assert sum(len(content_bytes(c, Path(name))) for name, c in made.items() if not name.startswith("..")) < 3_000_000
    for name in ("index.html", "runs.html"):
        loaded = re.findall(r"""(?:src|href|action|url\()\s*=?\s*["']?(https?:|//)""", made[name])
        assert not loaded and "@import" not in made[name]


def test_links_lead_somewhere_and_headings_are_in_order(made):
    seen = {name: Seen(made[name]) for name in ("index.html", "runs.html")}
    for name, page in seen.items():
        assert len(page.ids) == len(set(page.ids))
        for link in page.links:
            file, _, id = link.partition("#")
            assert (file or name) in seen and (not id or id in seen[file or name].ids), link
        assert page.heads[0] == 1 and all(b <= a + 1 for a, b in zip(page.heads, page.heads[1:], strict=False))
    pictures = seen["index.html"].pictures
    figures = {name for stage in shown_stages() if stage.file(RESULTS).exists() for name in stage.figures}
    assert len(pictures) == len(figures) and all(p["src"] in made and len(p["alt"]) > 20 for p in pictures)


def test_every_claim_is_there_with_its_verdict_and_its_command(made):
    text = made["index.html"]
    claims = pd.read_csv(RESULTS / "claims.csv")
    for c in claims.itertuples():
        row = re.search(rf'<tr id="{c.id}".*?</tr>', text, re.S)[0]
        assert f'data-verdict="{c.verdict}"' in row
        assert (f"<code>presyn reproduce --claim {c.id}</code>" in row) == (c.verdict != "not tested")
    assert text.count("<tr id=") == len(claims) == 64


def test_what_came_out_is_said_as_the_verdicts_have_it(found, made):
    """No sentence on a finding is typed in: with another verdict it says something else."""
    claims = {c.claim.id: c for c in found.claims}
    e2 = claims["E2"].shown
    assert f"×\N{NO-BREAK SPACE}{e2.effect:.3g} [{e2.low:.3g}, {e2.high:.3g}]" in sentence(claims["E2"])
    shown = re.sub(r"<[^>]+>", "", made["index.html"].split("What came out, part by part")[1].split("The claims")[0])
    for c in found.claims:
        assert " ".join(sentence(c).removeprefix(f"{c.claim.id}: ").split())[:60] in " ".join(unescape(shown).split())
    turned = [replace(v, verdict="not reproduced") if v.id == "E2" else v for v in found.verdicts]
    reproduced, rest = as_markdown(by_claim(turned, claim_list()), ["Energy"]).split("**Not reproduced:**")
    assert "- E2: plastic" in rest and "- E2: plastic" not in reproduced and "- E1: " in reproduced
    ids = next(line for line in as_markdown(found.claims).splitlines() if line.startswith("| Energy |"))
    assert ids == "| Energy | E1, E2, E3, E4, E5, E8 | E6, E7 | – | – |"


def test_pages_show_the_verdicts_and_tables_that_rows_make(found):
    """Of the README and the docs: conclusions are those of the verdicts, and tables those of the results."""
    tables = {p.relative_to(RESULTS).as_posix(): p.read_text() for p in RESULTS.rglob("*.md")}
    shown = 0
    for page in (RESULTS.parent / "README.md", *(RESULTS.parent / "docs").glob("*.md")):
        text = page.read_text()
        assert fill_blocks(text, found.claims, tables) == text, "run make report"
        shown += len(TABLE_BLOCK.findall(text))
    assert shown == 16
    stale = "<!-- table: table1/table1.md -->\nold\n<!-- /table -->"
    assert "old" not in fill_blocks(stale, found.claims, tables)
    in_full = fill_blocks("<!-- in full: S4, L29 -->\n<!-- /in full -->", found.claims, tables)
    lines = [line for line in in_full.splitlines() if line.startswith("| ")]
    assert len(lines) > 30 and any(r"\|w̄\|" in line for line in lines)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {6}, "a bar in a cell does not end it"
    for c in found.claims:
        assert sentence(c).count("(") == sentence(c).count(")"), c.claim.id


def test_a_row_that_was_changed_is_refused_and_never_shown(tmp_path, found):
    shutil.copytree(RESULTS, tmp_path / "results", ignore=shutil.ignore_patterns("report", "bench"))
    path = tmp_path / "results" / "energy" / "runs.csv"
    lines = path.read_text().splitlines()
    accuracy = pd.read_csv(path).mean_accuracy[0]
    lines[1] = lines[1].replace(str(accuracy), str(accuracy + 0.01), 1)
    path.write_text("\n".join(lines) + "\n")
    known = Known(values={"verify": found}, results=Results(tmp_path / "results"))
    with pytest.raises(PresynError, match="energy/runs.csv"):
        report().make(pd.DataFrame(), known)


def test_whoever_has_table_1_alone_has_a_page(home):
    """Sections without rows are left out."""
    shutil.copytree(RESULTS / "table1", "results/table1")
    assert main(["report"]) == 0 == main(["verify"])
    text = Path("results/report/index.html").read_text()
    assert 'id="table1"' in text and not {'id="search"', 'id="figures"', 'id="energy"'} & set(re.findall(r'id="\w+"', text))
    assert text.count('data-verdict="not tested"') > 20


def test_a_claims_command_trains_the_runs_behind_it(home, capsys):
    shutil.copytree(RESULTS, "results", ignore=shutil.ignore_patterns("report", "bench"))
    shutil.rmtree("results/seeds")
    assert main(["import"]) == 0
    assert main(["reproduce", "--claim", "P2", "--dry-run"]) == 0
    assert "the runs behind claim P2: 120 runs, 120 in the store, 0 to train" in capsys.readouterr().err
    assert main(["reproduce", "--claim", "P9"]) == 1 and "Unknown claim 'P9'" in capsys.readouterr().err
    assert main(["reproduce", "--claim", "B1"]) == 1 and "no runs behind the claim B1" in capsys.readouterr().err


def test_words_of_others_are_shown_as_they_are():
    empty = dict.fromkeys(("commits", "torch", "data", "devices", "lines"), [])
    text = render("runs.html", {"runs": {"<b>": {"count": 0, "shared": "<script>", **empty}}, "total_runs": 0})
    assert "<b>" not in text and "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"effect": 1.38, "low": 1.33, "high": 1.44, "unit": "ratio"}, "ours 1.38, 95 % interval 1.33 to 1.44; no effect at 1"),
        ({"effect": -0.0065, "low": -0.09, "high": 0.08}, "ours -0.0065, 95 % interval -0.09 to 0.08; no effect at 0"),
        ({"effect": 1.2e-05, "low": -0.1, "high": 0.1}, "ours 1.2e-05, 95 % interval -0.1 to 0.1"),
        ({"effect": 3.1e3, "low": 2.2, "high": 4.4e6, "unit": "ratio"}, "ours 3100, 95 % interval 2.2 to 4.4e+06"),
        (
            {"effect": 83.0, "low": 82.0, "high": 84.0, "kind": "mean", "printed": 82.9, "lost": 2},
            "ours 83, 95 % interval 82 to 84; published 82.9",
        ),
    ],
)
def test_an_interval_is_drawn_from_numbers(fields, words):
    assert words in forest_of(Verdict("E2", "c", "f", **fields))


def test_without_an_interval_nothing_is_drawn():
    assert not forest_of(Verdict("E2", "c", "f", effect=1.0))


def test_a_search_of_a_few_trials_has_a_page_without_importances():
    trials = read_rows(RESULTS / "search" / "presynaptic-permuted-mnist" / "runs.csv", ["trial"])
    finished = trials[trials.status == "finished"]
    published = dict.fromkeys(("p_up", "p_down", "g_lim", "p_freeze", "eta0"), 0.05)
    few = shape_search(pd.concat([finished.head(3), trials[trials.status == "dropped"].head(2)]), published)
    assert few["importance"] == "" and (few["finished"], few["dropped"], few["diverged"]) == (3, 2, 0)
