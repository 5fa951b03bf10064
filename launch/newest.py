"""The requirements of pyproject.toml without upper bounds, to test the newest releases.

`python launch/newest.py requirements` prints the requirements of the package and its tests for pip,
without upper bounds. `python launch/newest.py caps` prints each requirement with an upper bound,
and whether the installed release exceeds it.
"""

import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet


def load_requirements() -> list[Requirement]:
    """Load the requirements of the package and of its tests, including those of nested extras."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = []
    for requirement in map(Requirement, [*project["dependencies"], *extras["test"]]):
        if requirement.name == project["name"]:
            requirements += [
                Requirement(text) for extra in requirement.extras for text in extras[extra]
            ]
        else:
            requirements.append(requirement)
    return requirements


def upper_bounds(requirement: Requirement) -> list[str]:
    """Return the upper bounds of a requirement, such as `<0.13`."""
    return [str(bound) for bound in requirement.specifier if bound.operator in ("<", "<=")]


def remove_upper_bounds(requirement: Requirement) -> Requirement:
    """Remove the upper bounds: `jax>=0.10,<0.13` becomes `jax>=0.10`."""
    bounds = {str(bound) for bound in requirement.specifier} - set(upper_bounds(requirement))
    requirement.specifier = SpecifierSet(",".join(bounds))
    return requirement


def compare_installed(requirement: Requirement) -> str:
    """Report whether the installed release exceeds the upper bounds of a requirement."""
    installed = metadata.version(requirement.name)
    bounds = ", ".join(upper_bounds(requirement))
    if installed in requirement.specifier:
        return f"{requirement.name} {installed}: no release for this Python exceeds {bounds}"
    return f"{requirement.name} {installed}: exceeds {bounds}"


if __name__ == "__main__":
    if sys.argv[1] == "requirements":
        print(*map(remove_upper_bounds, load_requirements()), sep="\n")
    else:
        bounded = [requirement for requirement in load_requirements() if upper_bounds(requirement)]
        print(*map(compare_installed, bounded), sep="\n")
