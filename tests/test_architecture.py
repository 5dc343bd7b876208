"""Rules about the code as a whole: the direction of imports, declared requirements, and the sizes of files."""

import ast
import re
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Runs in the environment with PyTorch that torchvision_peer.py makes.
IN_ANOTHER_ENVIRONMENT = {
    ROOT / "tests" / "benchmarks" / name for name in ("torchvision_worker.py", "runtime_worker.py", "to_onnx.py")
}
OWN = ("keras_frcnn", "training", "export")

FLOORS = ("facts", "geometry", "rules", "network", "api")  # folders of keras_frcnn, from the ground up
BORDERS = ("data", "evaluation")  # know the first two floors and their own room
SHARED = "keras_frcnn.data.example"  # the one form of data that both borders know
USES_BORDERS = ("api",)  # the floors that read pictures and data sets themselves
MOST_ENTRIES = {"keras_frcnn": 10, "training": 10, "export": 10}  # files and folders that a reader sees
LONGEST_CHAIN = 6  # modules of training/ that import each other in a row
LONGEST_FUNCTION = 60  # lines, docstring included
LONGEST_FILE = 300
LONG_FILES = {"export/client.py": "one file that can be copied away"}
# The extras of setup.cfg that a folder may import from, besides install_requires.  The innermost folder counts.
EXTRAS = {
    "keras_frcnn": (),
    "keras_frcnn/data": ("data",),
    "keras_frcnn/facts/pages": ("data",),
    "keras_frcnn/api/exports": ("export",),
    "keras_frcnn/api/beam": ("beam",),
    "training": ("train", "data"),
    "export": ("export",),
    "tests": ("train", "data", "export", "test", "docs"),
}

DISTRIBUTIONS = {  # where the import is not the distribution's name
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "orbit": "tf-models-official",
    "official": "tf-models-official",
    "google": "protobuf",
    "grpc": "grpcio",
    "tensorflow_serving": "tensorflow-serving-api",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
}


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def sources(*rooms):
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def imported(path):
    """The modules that a file imports, anywhere in it: `from a import b` is a.b where that is a module, else a."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                place = ROOT.joinpath(*whole.split("."))
                is_module = place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()
                names.add(whole if is_module else node.module)
    return names


def room_of(name):
    """The folder of keras_frcnn that a module lies in; None for the modules on top."""
    parts = name.split(".")
    return parts[1] if len(parts) > 2 or (ROOT / "keras_frcnn" / parts[-1]).is_dir() else None


def test_the_rooms_are_there():
    for room in (*OWN, *(f"keras_frcnn/{name}" for name in (*FLOORS, *BORDERS))):
        assert (ROOT / room / "__init__.py").is_file()
    assert len(sources(*OWN)) > 30


@pytest.mark.parametrize("room", OWN)
def test_rooms_import_in_one_direction(room):
    forbidden = {"keras_frcnn": {"training", "export"}, "training": {"export"}, "export": {"training"}}[room]
    for path in sources(room):
        wrong = {name for name in imported(path) if name.split(".")[0] in forbidden | {"tests"}}
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def allowed_rooms(name):
    """The rooms of keras_frcnn that a module in it may import from."""
    room = room_of(name)
    if room is None:  # a command line, or the package itself
        return {*FLOORS, *BORDERS}
    if room in BORDERS:
        return {*FLOORS[:2], room}
    return {*FLOORS[: FLOORS.index(room) + 1], *(BORDERS if room in USES_BORDERS else ())}


def test_a_file_imports_only_from_its_floor_or_below():
    for path in sources("keras_frcnn"):
        name = module_name(path)
        for other in imported(path):
            if other.split(".")[0] != "keras_frcnn":
                continue
            assert other != "keras_frcnn", f"{name} imports the package: name the module"
            assert room_of(other) in allowed_rooms(name) or other == SHARED, f"{name} imports {other}"


def test_the_shared_form_of_data_imports_nothing_of_ours():
    assert not {name for name in imported(ROOT.joinpath(*SHARED.split(".")).with_suffix(".py")) if name.startswith(OWN)}


def test_no_module_imports_a_command_line(command_lines):
    for path in sources(*OWN):
        wrong = imported(path) & set(command_lines)
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("room", MOST_ENTRIES)
def test_the_folder_list_is_short(room):
    marks = ("__init__.py", "__pycache__", "py.typed")  # of a package: nobody opens them to find something
    entries = sorted(path.name for path in (ROOT / room).iterdir() if path.name not in marks)
    assert len(entries) <= MOST_ENTRIES[room], entries


def longest_chain(room):
    """The longest row of modules in a room of which each imports the next."""
    paths = {module_name(path): path for path in sources(room)}
    chains = {}

    def chain(name, above=()):
        assert name not in above, f"imports in a circle: {' -> '.join((*above, name))}"
        if name not in chains:
            below = [chain(other, (*above, name)) for other in imported(paths[name]) if other in paths]
            chains[name] = (name, *max(below, key=len, default=()))
        return chains[name]

    return max((chain(name) for name in paths), key=len)


def test_chains_of_imports_are_short():
    chain = longest_chain("training")
    assert len(chain) <= LONGEST_CHAIN, " -> ".join(chain)


def test_only_command_lines_of_export_import_inside_functions(command_lines):
    for path in sources("export"):
        functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
        deferred = (ast.Import, ast.ImportFrom)
        inner = [node.name for node in functions if any(isinstance(each, deferred) for each in ast.walk(node))]
        assert not inner or module_name(path) in command_lines, f"{path.relative_to(ROOT)}: {', '.join(inner)}"


def called(path):
    """The names of all functions and methods that a file calls."""
    functions = (
        node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    )
    return {getattr(function, "attr", getattr(function, "id", None)) for function in functions}


@pytest.mark.parametrize("rule", ["make_proposals", "make_detections", "head"])
def test_the_forward_pass_is_written_once(rule):
    """One module puts layers and rules in a row; all others call its `propose`, `classify` and `detect`."""
    callers = [str(path.relative_to(ROOT)) for path in sources(*OWN) if rule in called(path)]
    assert callers == ["keras_frcnn/network/forward.py"]


def test_the_client_of_the_server_needs_no_model_code():
    client = ROOT / "export" / "client.py"
    heavy = {name for name in imported(client) if name.split(".")[0] in (*OWN, "tensorflow", "keras")}
    assert not heavy, f"export/client.py imports {', '.join(sorted(heavy))}"


def declared(options):
    """Names of the distributions in setup.cfg's lists of requirements."""
    lines = (line.strip() for value in options for line in value.splitlines())
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines if line and not line.startswith("#"))
    return {re.sub(r"[-_.]+", "-", name[0]).lower() for name in names}


@pytest.mark.parametrize("room", EXTRAS)
def test_what_is_imported_is_declared(room):
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = [config["options.extras_require"][extra] for extra in EXTRAS[room]]
    requirements = declared([config["options"]["install_requires"], *extras])
    assert "numpy" in requirements
    inner = [source for other in EXTRAS if other.startswith(f"{room}/") for source in sources(other)]
    for path in sorted(set(sources(room)) - {*inner, *IN_ANOTHER_ENVIRONMENT}):
        neighbours = {other.stem for other in path.parent.glob("*.py")} if room == "tests" else set()  # of scripts
        known = sys.stdlib_module_names | {*OWN} | neighbours
        for name in sorted({name.split(".")[0] for name in imported(path)} - known):
            distribution = DISTRIBUTIONS.get(name, name.lower().replace("_", "-"))
            place = " or ".join(("install_requires", *EXTRAS[room]))
            assert distribution in requirements, f"{path.relative_to(ROOT)} imports {name}: list it in {place}"


def test_detection_evaluation_and_exports_need_no_data_packages():
    """What these parts import, directly or not, needs no package that only the extra `data` has."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    packages = declared([extras["data"]]) - declared([extras["export"]])
    paths = {module_name(path): path for path in sources(*OWN)}
    roots = (
        "keras_frcnn.api",
        "keras_frcnn.detect",
        "keras_frcnn.evaluation",
        "keras_frcnn.data.stream.pipeline",
        "export",
    )
    makes_pages = "keras_frcnn.api.inspection"
    waiting = [name for name in paths if name.startswith(roots) and not name.startswith(makes_pages)]
    reached = set()
    while waiting:
        name = waiting.pop()
        if name in paths and name not in reached:
            reached.add(name)
            waiting += imported(paths[name])
            wrong = {other for other in imported(paths[name]) if other.split(".")[0].replace("_", "-") in packages}
            assert not wrong, f"{name} imports {', '.join(sorted(wrong))}, which only the extra `data` installs"
    assert "keras_frcnn.facts.pages.tables" in reached


def lengths(path):
    """The number of lines of a file, by its path, and of each function in it, by path:line and name."""
    text, place = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    yield place, len(text.splitlines()), LONGEST_FILE
    for node in functions:
        yield f"{place}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1, LONGEST_FUNCTION


@pytest.mark.parametrize("room", OWN)
def test_files_and_functions_are_short(room):
    measured = [entry for path in sources(room) for entry in lengths(path)]
    long = [f"{place}: {lines} lines" for place, lines, most in measured if lines > most and place not in LONG_FILES]
    assert not long, "split them:\n" + "\n".join(long)


@pytest.mark.parametrize("place", LONG_FILES)
def test_a_file_that_may_be_long_is_long(place):
    assert len((ROOT / place).read_text(encoding="utf-8").splitlines()) > LONGEST_FILE, "take it off the list"
