"""What is declared in setup.cfg: the licence of each package, and the versions that continuous integration installs."""

import pathlib
import re
from configparser import ConfigParser

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]


def requirements(*without: str) -> list[Requirement]:
    """The requirements of all extras of setup.cfg but some, and of the package without extras."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    lists = [config["options"]["install_requires"], *(extras[name] for name in extras if name not in without)]
    lines = [line.strip() for value in lists for line in value.splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [requirement for requirement in found if requirement.name != "keras-frcnn"]


def test_every_dependency_is_listed_with_its_licence():
    page = (ROOT / "docs" / "dependencies.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    listed = {canonicalize_name(row[0]): row for row in rows if row[0] not in ("package", "---")}
    assert listed.keys() == {canonicalize_name(requirement.name) for requirement in requirements()}
    licences = "Apache-2.0|MIT|BSD|MPL-2.0|PSF"
    assert not [row for row in listed.values() if not any(re.match(licences, cell) for cell in row[1:])]


def test_the_versions_of_continuous_integration_are_among_those_allowed():
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    locked = {canonicalize_name(name): version for name, version in pairs}
    for requirement in requirements("beam"):  # which needs an environment of its own
        version = locked.get(canonicalize_name(requirement.name))
        assert version, f"`make lock` has not seen {requirement.name}"
        assert requirement.specifier.contains(version), f"{requirement}, but .ci/constraints.txt has {version}"
