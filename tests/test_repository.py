"""What holds for the files of the repository as a whole."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jupytext
import pytest
import yaml

from workbench import batch, charts, costs, provenance

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "workbench"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Imports point to the same layer or to one above it in this list. A dotted name places a part of a package.
LAYERS = [
    {
        "aliasing",
        "parts",
        "code_cache",
        "accelerate",
        "intrinsics",
        "pointed",
        "errors",
        "frames",
        "provenance",
        "sizes",
    },
    {"trackers.protocol", "policies"},  # what step programs ask, and what they are told
    {"mm", "costs", "cost_files", "traces"},
    {"trackers"},
    {"user_tracker", "designs", "scenarios", "hazards"},
    {"steps", "clock", "verdict", "search", "replay", "scheduled", "bulk", "simulate", "explore"},
    {
        *("results", "sweep.store", "tables", "counterexample", "charts", "matrix"),
        *("anchors", "compare", "false_pins", "touched"),
    },
    {"kernel"},
    {
        *("usage", "batch", "sweep", "report", "export", "widgets", "lab"),
        *("cli_bench", "cli_explore", "cli_export", "cli_kernel", "cli_schedule", "cli_sweep", "cli"),
    },
    {"__init__", "__main__"},
]
LAYER = {name: depth for depth, names in enumerate(LAYERS) for name in names}
CONDA_NAMES = {"jupyter-server": "jupyter_server", "tree-sitter": "tree_sitter"}
IMPORT_NAMES = {
    "ipython": "IPython",
    "jupyter-server": "jupyter_server",
    "markdown-it-py": "markdown_it",
    "pillow": "PIL",
    "tree-sitter": "tree_sitter",
    "tree-sitter-c": "tree_sitter_c",
}
NOT_IMPORTED = {
    "ipykernel": "started by name",
    "jupyterlab": "make lab",
    "jupytext": "pairs notebooks",
    "seaborn": "for notebooks of the users' own",
    "papermill": "imported in the process that batch starts",
}


def name_of(requirement: str) -> str:
    return re.split(r"[^\w-]", requirement)[0].lower().replace("_", "-")


def imported_names(path: Path) -> set[str]:
    """Absolute dotted names of everything that a file imports."""
    found = set()
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def layer(name: str) -> int:
    """Depth of what has that dotted name; names of the package itself are the last layer's."""
    name = name.removeprefix("workbench").removeprefix(".")
    while name and name not in LAYER:
        name = name.rpartition(".")[0]
    return LAYER[name or "__init__"]


MODULES = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in PACKAGE.rglob("*.py")}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_one_way(name):
    room = name.split(".")[1]
    assert any(known.split(".")[0] == room for known in LAYER), f"{room} has no place in LAYERS above"
    imports = {n for n in imported_names(MODULES[name]) if n.split(".")[0] == "workbench"}
    assert sorted(n for n in imports if layer(n) > layer(name)) == [], f"{name} is below these"


@pytest.fixture(scope="module")
def tracked_files() -> list[Path]:
    """Files in git, and those that would go there."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: what is tracked can't be told")
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_large_files(tracked_files):
    assert [p.name for p in tracked_files if p.stat().st_size > 5_000_000] == []


def test_no_machine_paths_and_no_registries(tracked_files):
    """Nothing that holds on one machine only."""
    wrong = re.compile(
        rf"(?<![\w.])({re.escape(str(ROOT))}|{re.escape(sys.prefix)}|/home/\w|/roo[t]/|/Users/\w)"
        r"|file:/{2}|https?:/{2}[\w.-]*pypi|index-url"
    )
    found = []
    for path in tracked_files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # compressed, or a picture
        if path != Path(__file__).resolve():
            found += [f"{path.name}: {match.group()}" for match in wrong.finditer(text)]
    assert found == []


def test_conda_environment_follows_pyproject():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    *packages, pip = conda["dependencies"]
    wanted = [CONDA_NAMES.get(name_of(d), name_of(d)) + d[len(name_of(d)) :] for d in PROJECT["dependencies"]]
    assert sorted(packages) == sorted([*wanted, "pip", "python" + PROJECT["requires-python"]])
    assert pip == {"pip": ["-e ."]}
    assert conda["name"] == PROJECT["name"]


def test_constraints_pin_every_dependency_and_nothing_else_is_in_them():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [p for p in pins if not re.fullmatch(r"[\w.-]+==[\w.]+(; [\w. '<>=]+)?", p)] == []
    extras = sum(PROJECT["optional-dependencies"].values(), [])
    wanted = {name_of(d) for d in PROJECT["dependencies"] + extras} - {PROJECT["name"]}
    assert wanted - {name_of(p) for p in pins} == set()


def test_dependencies_are_those_that_are_imported():
    sources = [*PACKAGE.rglob("*.py"), *(ROOT / "notebooks").glob("*.py")]
    used = {name.partition(".")[0] for path in sources for name in imported_names(path)}
    used -= set(sys.stdlib_module_names) | {"workbench"}
    names = {name_of(d) for d in PROJECT["dependencies"]}
    declared = {IMPORT_NAMES.get(name, name) for name in names}
    assert used - declared == set(), "add them to pyproject.toml"
    assert declared - used - set(NOT_IMPORTED) == set(), "nothing uses them"


def test_there_are_notebooks():
    scripts = sorted(path.stem for path in batch.NOTEBOOKS.glob("*.py"))
    assert batch.notebook_names() == scripts != []


@pytest.mark.parametrize("name", batch.notebook_names())
def test_notebook_is_paired_and_clean(name):
    """`make notebooks` makes the one from the other."""
    path = batch.find_notebook(name)
    book = jupytext.read(path)
    script = jupytext.read(path.with_suffix(".py"))

    def cells(notebook):
        return [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in notebook.cells]

    assert cells(book) == cells(script), "run `make notebooks`"
    assert book.metadata.jupytext.formats == "ipynb,py:percent"
    for cell in json.loads(path.read_text())["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None, "run `make notebooks`"


@pytest.mark.parametrize("name", batch.notebook_names())
def test_notebook_asks_first_and_ends_with_what_it_found(name):
    cells = [cell.source for cell in jupytext.read(batch.find_notebook(name)).cells]
    assert re.match(r"# .+\n\n\*\*(The claims?|What it asks)\b", cells[0])
    assert any("## What it found" in source for source in cells[-2:]), "the last words, below such a heading"


def test_the_readme_names_every_notebook():
    named = re.findall(r"^\| `(\d\d_\w+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert named == batch.notebook_names()


def test_the_figure_of_the_readme_is_made_with_the_cost_table_of_now():
    made_by = charts.read_provenance(ROOT / "docs" / "golden_race_outcomes.png")
    now = provenance.provenance(costs=costs.DEFAULT)
    assert made_by["costs"] == now["costs"], "copy figures/golden_race_outcomes.png"


def test_how_to_cite_follows_pyproject():
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (told["cff-version"], told["type"], told["message"] != "") == ("1.2.0", "software", True)
    assert (told["version"], told["license"]) == (PROJECT["version"], PROJECT["license"])
    assert (told["abstract"], told["authors"]) == (PROJECT["description"], PROJECT["authors"])
    bibtex = (ROOT / "README.md").read_text().split("```bibtex\n")[1].split("```")[0]
    assert f"version = {{{PROJECT['version']}}}" in bibtex and PROJECT["authors"][0]["name"] in bibtex


@pytest.mark.parametrize("name", batch.notebook_names())
def test_notebook_has_the_common_parameters(name):
    parameters = batch.read_parameters(batch.find_notebook(name))
    assert (parameters["quick"].type, parameters["figures_dir"].type) == ("bool", "str")
    assert all(parameter.help for parameter in parameters.values()), "say what it means, and its unit"


def test_make_wants_python_311(tmp_path):
    """One clear line on an older Python, and nothing half-made."""
    old = tmp_path / "python3"
    code = """import sys
if "--version" in sys.argv:
    sys.exit(print("Python 3.10.9"))
sys.version_info = (3, 10, 9, "final", 0)
exec(sys.argv[2])
"""
    old.write_text(f"#!{sys.executable}\n{code}")
    old.chmod(0o755)
    venv = tmp_path / "venv"
    command = ["make", "-C", str(ROOT), "--no-print-directory", "figures", f"PYTHON={old}", f"VENV={venv}"]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode != 0 and not venv.exists()
    first = made.stderr.splitlines()[0]
    assert first.startswith("Python 3.11 or newer is needed") and "3.10.9" in first
