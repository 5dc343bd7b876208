"""The direction of imports: a file knows its own floor and those below, and what it imports is declared."""

import ast
import re
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OWN = ("keras_frcnn", "training", "export")

FLOORS = {
    0: ("config", "structures", "errors", "cache", "files"),  # facts
    1: ("boxes", "anchors", "images", "randomness"),  # geometry
    2: ("targets", "proposals", "detections", "losses"),  # rules
    3: ("backbone", "weights", "rpn", "roi_pooling", "head", "model", "warm_start"),  # weights
    4: ("detect", "visualize", "__init__"),  # use
}
FLOOR_OF = {f"keras_frcnn.{name}": floor for floor, names in FLOORS.items() for name in names}
BORDERS = ("keras_frcnn.data", "keras_frcnn.evaluation")  # know floors 0 and 1, and their own room
SHARED = "keras_frcnn.data.example"  # the one form of data that is handed between the borders

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
    return next((room for room in BORDERS if name == room or name.startswith(f"{room}.")), None)


def test_the_rooms_are_there():
    for room in OWN:
        assert (ROOT / room / "__init__.py").is_file()
    assert len(sources(*OWN)) > 30


@pytest.mark.parametrize("room", OWN)
def test_rooms_import_in_one_direction(room):
    forbidden = {"keras_frcnn": {"training", "export"}, "training": {"export"}, "export": {"training"}}[room]
    for path in sources(room):
        wrong = {name for name in imported(path) if name.split(".")[0] in forbidden | {"tests"}}
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_a_file_imports_only_from_its_floor_or_below():
    for path in sources("keras_frcnn"):
        name = module_name(path)
        room = room_of(name)
        assert room or name in FLOOR_OF, f"{name} has no floor: give it one in {Path(__file__).name}"
        highest = 1 if room else FLOOR_OF[name]
        for other in imported(path):
            if other.split(".")[0] != "keras_frcnn":
                continue
            assert other != "keras_frcnn", f"{name} imports the package: name the module"
            other_room = room_of(other)
            if other_room:
                allowed = other_room == room or (room and other == SHARED)
                assert allowed, f"{name} imports {other}: pictures and measures come in from outside"
            else:
                assert FLOOR_OF[other] <= highest, f"{name} (floor {highest}) imports {other} ({FLOOR_OF[other]})"


def test_the_shared_form_of_data_imports_nothing_of_ours():
    assert not {name for name in imported(ROOT.joinpath(*SHARED.split(".")).with_suffix(".py")) if name.startswith(OWN)}


def test_floors_name_files_that_are_there():
    missing = [name for name in FLOOR_OF if not ROOT.joinpath(*name.split(".")).with_suffix(".py").is_file()]
    assert not missing


def test_the_map_names_every_file():
    map_ = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Map\n")[2]
    rooms = [path for path in sources("keras_frcnn", "training", "export") if not room_of(module_name(path))]
    missing = [path.name for path in rooms if path.name != "__init__.py" and f"`{path.name}`" not in map_]
    assert not missing


def test_the_client_of_the_server_needs_no_model_code():
    client = ROOT / "export" / "client.py"
    if client.is_file():
        heavy = {name for name in imported(client) if name.split(".")[0] in (*OWN, "tensorflow", "keras")}
        assert not heavy, f"export/client.py imports {', '.join(sorted(heavy))}"


def declared(options):
    """Names of the distributions in setup.cfg's lists of requirements."""
    lines = (line.strip() for value in options for line in value.splitlines())
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines if line and not line.startswith("#"))
    return {re.sub(r"[-_.]+", "-", name[0]).lower() for name in names}


@pytest.mark.parametrize("room", [*OWN, "tests"])
def test_what_is_imported_is_declared(room):
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = dict(config["options.extras_require"])
    test_only = extras.pop("test", "")
    options = [config["options"]["install_requires"], *extras.values(), *([test_only] if room == "tests" else [])]
    requirements = declared(options)
    for path in sources(room):
        neighbours = {other.stem for other in path.parent.glob("*.py")} if room == "tests" else set()  # of scripts
        known = sys.stdlib_module_names | {*OWN} | neighbours
        for name in sorted({name.split(".")[0] for name in imported(path)} - known):
            distribution = DISTRIBUTIONS.get(name, name.lower().replace("_", "-"))
            assert distribution in requirements, f"{path.relative_to(ROOT)} imports {name}: list it in setup.cfg"
