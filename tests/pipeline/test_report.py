"""The page for readers: made of the committed rows, whole without a network, and never of a row that was changed."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from pipeline.experiments.report import FIGURES, report
from pipeline.report import page
from pipeline.report.claim_list import by_claim, claim_list
from pipeline.report.page import content
from pipeline.report.page.draw import forest
from pipeline.stage import Known
from presyn import PresynError

RESULTS = Path(__file__).parents[2] / "results"


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
def made():
    """The files of the page, made of the committed rows."""
    stage = report(RESULTS)
    verdicts = stage.verify.make(pd.DataFrame(), Known()).value
    return stage.make(pd.DataFrame(), Known(values={"verify": verdicts})).files


def test_the_committed_page_is_the_one_that_the_rows_make(made):
    for name, text in made.items():
        there = (RESULTS / "report" / name).read_bytes()
        assert there == (text if isinstance(text, bytes) else text.encode()), f"{name}: run make report and commit it"
    there = {p.relative_to(RESULTS / "report").as_posix() for p in (RESULTS / "report").rglob("*.*")}
    assert there == set(made) - {"../ro-crate-metadata.json"}


def test_it_is_small_and_asks_no_other_host_for_anything(made):
    assert sum(len(t) for t in made.values()) < 3_000_000
    for name in ("index.html", "runs.html"):
        loaded = re.findall(r"""(?:src|href|action|url\()\s*=?\s*["']?(https?:|//)""", made[name])
        assert not loaded and "@import" not in made[name]


def test_links_lead_somewhere_and_headings_are_in_order(made):
    seen = {name: Seen(made[name]) for name in ("index.html", "runs.html")}
    for name, of in seen.items():
        assert len(of.ids) == len(set(of.ids))
        for link in of.links:
            file, _, id = link.partition("#")
            assert (file or name) in seen and (not id or id in seen[file or name].ids), link
        assert of.heads[0] == 1 and all(b <= a + 1 for a, b in zip(of.heads, of.heads[1:], strict=False))
    pictures = seen["index.html"].pictures
    assert len(pictures) == len(FIGURES) and all(p["src"] in made and len(p["alt"]) > 20 for p in pictures)


def test_every_claim_is_there_with_its_verdict_and_its_command(made):
    text = made["index.html"]
    claims = pd.read_csv(RESULTS / "claims.csv")
    for c in claims.itertuples():
        row = re.search(rf'<tr id="{c.id}".*?</tr>', text, re.S)[0]
        assert f'data-verdict="{c.verdict}"' in row and "<code>presyn reproduce " in row
    assert text.count("<tr id=") == len(claims) == 60


def test_what_the_page_says_first_is_what_the_verdicts_say():
    verdict = pd.read_csv(RESULTS / "claims.csv").set_index("id").verdict
    assert (verdict[["E2", "E5", "L2", "S5", "S6"]] == "reproduced").all() and verdict["E6"] == "undecided"


def test_a_row_that_was_changed_is_refused_and_never_shown(tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results", ignore=shutil.ignore_patterns("report", "bench"))
    path = tmp_path / "results" / "energy" / "runs.csv"
    lines = path.read_text().splitlines()
    accuracy = pd.read_csv(path).mean_accuracy[0]
    lines[1] = lines[1].replace(str(accuracy), str(accuracy + 0.01), 1)
    path.write_text("\n".join(lines) + "\n")
    stage = report(tmp_path / "results")
    with pytest.raises(PresynError, match="energy/runs.csv"):
        stage.make(pd.DataFrame(), Known(values={"verify": pd.read_csv(RESULTS / "verdicts.csv")}))


def test_a_claim_without_runs_is_not_tested_and_says_what_is_missing():
    verdicts = pd.read_csv(RESULTS / "verdicts.csv", keep_default_na=False)
    listed = [c for c in claim_list() if c["id"] == "E2"]
    verdicts["p_margin"] = pd.to_numeric(verdicts.p_margin, errors="coerce")
    claims = by_claim(verdicts[verdicts.id != "E2"], listed)
    (claim,) = content.claims_of(claims, verdicts[verdicts.id != "E2"], listed, {})
    assert claim["verdict"] == "not tested" and claim["note"] == "no rows: presyn reproduce energy"


def test_words_of_others_are_shown_as_they_are():
    empty = dict.fromkeys(("commits", "torch", "data", "devices", "lines"), [])
    text = page.render("runs.html", {"runs": {"<b>": {"count": 0, "shared": "<script>", **empty}}, "total_runs": 0})
    assert "<b>" not in text and "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("interval", "published", "null", "words"),
    [
        ("× 1.38 [1.33, 1.44]", "", 1.0, "ours 1.38, 95 % interval 1.33 to 1.44; no effect at 1"),
        ("-0.0065 [-0.09, 0.08]", "", 0.0, "ours -0.0065, 95 % interval -0.09 to 0.08; no effect at 0"),
        ("83 [82, 84]", "82.90 ± 0.01", None, "ours 83, 95 % interval 82 to 84; published 82.9"),
        ("nothing", "", None, ""),
    ],
)
def test_an_interval_says_in_words_what_it_shows(interval, published, null, words):
    assert words in forest(interval, published, null)
