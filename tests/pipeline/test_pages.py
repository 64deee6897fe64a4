"""The pages for users: their commands run, their Python runs, their YAML is read, and what they list is complete."""

import inspect
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import docs.rule
from pipeline import cli
from presyn import PresynError
from sweeps import space
from sweeps.files import read_benchmark
from sweeps.space import read_space

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)


def commands(page: str) -> list[list[str]]:
    """The commands of a page that are shown with what they print."""
    return [shlex.split(line[2:]) for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]


def test_the_tour_can_be_walked(home, capsys):
    (searched,) = blocks("tour.md", "yaml")
    Path("mine.yaml").write_text(searched, encoding="utf-8")
    walked = commands("tour.md")
    assert {words[1] for words in walked} >= {"run", "list", "compare", "curves", "search", "status", "remove"}
    for words in walked:
        assert words[0] == "presyn" and cli.main(words[1:]) == 0, words
    assert Path("curves.svg").exists()


def test_the_page_on_trained_networks_runs_as_it_stands(home, capsys):
    for words in commands("trained.md"):
        assert cli.main(words[1:]) == 0
    for code in blocks("trained.md", "python"):
        names = {}
        exec(compile(code, "trained.md", "exec"), names)  # noqa: S102
        assert "run_id" not in names or names["answer"].shape == (360,)


def test_the_files_of_the_page_on_yaml_are_read(home):
    named = {re.match(r"# (\S+)\n", block)[1]: block for block in blocks("yaml.md", "yaml")}
    for name, block in named.items():
        Path(name).write_text(block, encoding="utf-8")
    rng = np.random.default_rng(0)
    images = {f"{part}_x": rng.integers(0, 256, (20, 4, 4)).astype(np.uint8) for part in ("train", "test")}
    np.savez("images.npz", **images, train_y=np.arange(20) % 4, test_y=np.arange(20) % 4)
    assert read_space("space.yaml").trials == 24 and read_benchmark("benchmark.yaml").tasks == 3
    assert read_benchmark("mine.yaml").load().train_x.shape == (20, 16)


def test_every_key_of_a_space_is_on_its_page():
    page = (DOCS / "yaml.md").read_text(encoding="utf-8")
    assert all(f"| `{key}`" in page or f", `{key}` |" in page for key in space._KEYS)
    searching = (DOCS / "searching.md").read_text(encoding="utf-8")
    assert all(f"| `{sampler}` |" in searching for sampler in space.SAMPLERS)


def test_the_page_on_searching_goes_from_a_space_to_a_table(home, here, monkeypatch, capsys):
    monkeypatch.setattr("pipeline.experiments.search.stage.parallel_coordinates", lambda study: b"")  # takes seconds each
    for block in blocks("searching.md", "yaml"):
        Path(re.match(r"# (\S+)\n", block)[1]).write_text(block, encoding="utf-8")
    walked = commands("searching.md")
    assert {words[1] for words in walked} == {"search", "run", "table1", "ablate"}
    for words in walked:
        assert words[0] == "presyn" and cli.main(words[1:]) == 0, words
    for file in ("best.yaml", "trials.csv", "runs.csv", "progress.png", "parallel_coordinates.png"):
        assert f"`{file}`" in (DOCS / "searching.md").read_text(encoding="utf-8")
        assert Path("mine/search/tune", file).exists(), file
    assert Path("mine/search/front/front.png").exists() and Path("mine/ablations-tune/searched/table.md").exists()


def test_a_spaces_benchmark_is_looked_for_beside_it_and_then_where_the_command_is_given(home):
    folder = home / "elsewhere"
    folder.mkdir()
    text = "method: sgd\nbenchmark: mine.yaml\nfixed: {validation: 300}\nsearch: {eta0: {choices: [0.1]}}\n"
    (folder / "space.yaml").write_text(text, encoding="utf-8")
    (home / "mine.yaml").write_text("dataset: digits\ntasks: 3\nbatch_size: 20\n", encoding="utf-8")
    assert read_space("elsewhere/space.yaml").benchmark.tasks == 3
    (folder / "mine.yaml").write_text("dataset: digits\ntasks: 2\nbatch_size: 20\n", encoding="utf-8")
    assert read_space("elsewhere/space.yaml").benchmark.tasks == 2


def test_an_unknown_field_of_a_file_is_answered_with_where_the_fields_are_explained(home):
    Path("mine.yaml").write_text("dataset: digits\ntask: 3\n", encoding="utf-8")
    with pytest.raises(PresynError, match="mine.yaml: Unknown field 'task'. Did you mean tasks.*presyn options"):
        read_benchmark("mine.yaml")
    text = "method: sgd\nbenchmark: split-digits\nfixed: {validation: 300}\nsearch: {eta: {choices: [0.1]}}\n"
    Path("space.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(PresynError, match="Did you mean eta0.*presyn options sgd"):
        read_space("space.yaml")


@pytest.mark.parametrize("way", ["option", "environment"])
def test_results_on_the_digits_go_where_the_store_is(home, monkeypatch, capsys, way):
    if way == "environment":
        monkeypatch.setenv("PRESYN_STORE", str(home / "elsewhere"))
    option = ["--store", "elsewhere"] if way == "option" else []
    assert cli.main(["search", "--digits", "--trials", "1", "--dry-run", *option]) == 0
    assert (home / "elsewhere" / "quickstart").is_dir() and not (home / ".presyn" / "quickstart").exists()


def test_the_page_on_the_command_line_lists_every_command_and_real_options():
    page = (DOCS / "command_line.md").read_text(encoding="utf-8")
    for name, function in cli.COMMANDS.items():
        assert f"| `{name}` | {inspect.getdoc(function).splitlines()[0]} |" in page
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = "".join(re.findall(r"^```\n(.*?)^```", page + readme, re.S | re.M))
    examples = re.findall(r"^presyn (.*?)(?:\s+#.*)?$", code, re.M)
    assert len(examples) > 15
    app = cli.make_app()
    for example in examples:
        app.parse_args(shlex.split(example), exit_on_error=False, print_error=False)  # raises for what there is not


def test_the_readme_can_be_read_at_once():
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(readme) <= 120


def test_the_picture_of_the_rule_is_as_its_script_draws_it():
    assert (DOCS / "rule.svg").read_text(encoding="utf-8") == docs.rule.picture()
