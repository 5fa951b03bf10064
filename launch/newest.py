"""What pyproject.toml asks for without its caps, and what of them an environment tries.

`python launch/newest.py requirements` prints the requirements of the package and its tests for pip;
`python launch/newest.py caps` prints each capped one with the release that is installed.
"""

import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet


def declared() -> list[Requirement]:
    """Requirements of the package and of its tests, those of its own extras among them."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found = []
    for requirement in map(Requirement, [*project["dependencies"], *extras["test"]]):
        if requirement.name == project["name"]:
            found += [Requirement(text) for extra in requirement.extras for text in extras[extra]]
        else:
            found.append(requirement)
    return found


def caps(requirement: Requirement) -> list[str]:
    """Its upper bounds."""
    return [str(bound) for bound in requirement.specifier if bound.operator in ("<", "<=")]


def uncapped(requirement: Requirement) -> Requirement:
    """`jax>=0.10,<0.13` as `jax>=0.10`."""
    bounds = {str(bound) for bound in requirement.specifier} - set(caps(requirement))
    requirement.specifier = SpecifierSet(",".join(bounds))
    return requirement


def tried(requirement: Requirement) -> str:
    """Whether the release that is installed is beyond the caps."""
    installed = metadata.version(requirement.name)
    within = installed in requirement.specifier
    found = "this Python is given nothing beyond" if within else "is beyond"
    return f"{requirement.name} {installed}: {found} {', '.join(caps(requirement))}"


if __name__ == "__main__":
    if sys.argv[1] == "requirements":
        print(*map(uncapped, declared()), sep="\n")
    else:
        print(*(tried(requirement) for requirement in declared() if caps(requirement)), sep="\n")
