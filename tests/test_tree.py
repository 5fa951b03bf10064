"""Rules of CONTRIBUTING for the source tree: small folders, files and functions, documented."""

import ast
from pathlib import Path

import pytest

ROOTS = ("ssl_jax", "data_pipelines", "configs", "launch", "tests")
CODE = [Path("ssl_jax"), Path("data_pipelines")]
MODULES = sorted(file for root in CODE for file in root.rglob("*.py"))
PACKAGES = [file.parent for file in MODULES if file.name == "__init__.py"]


@pytest.mark.parametrize("root", ROOTS)
def test_a_folder_holds_at_most_twelve_files(root):
    folders = [Path(root), *(p for p in Path(root).rglob("*") if p.is_dir())]
    counts = {
        str(folder): len([f for f in folder.iterdir() if f.is_file()])
        for folder in folders
        if "__pycache__" not in folder.parts
    }
    assert {folder: count for folder, count in counts.items() if count > 12} == {}


def test_no_file_is_over_350_lines_and_no_function_over_60():
    too_long = {}
    for module in MODULES:
        text = module.read_text()
        if (lines := text.count("\n")) > 350:
            too_long[str(module)] = lines
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 60:
                    too_long[f"{module}:{node.name}"] = lines
    assert too_long == {}


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_a_package_documents_its_modules(package):
    """The docstring of a package names each module, unless the package imports its names."""
    tree = ast.parse((package / "__init__.py").read_text())
    docstring = ast.get_docstring(tree) or ""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported = {node.module for node in imports}
    imported |= {f"{node.module}.{name.name}" for node in imports for name in node.names}
    assert docstring
    assert "TODO" not in docstring
    prefix = ".".join(package.parts)
    unnamed = [
        module.stem
        for module in package.glob("*.py")
        if module.stem not in ("__init__", package.name)
        and f"`{module.stem}`" not in docstring
        and f"{prefix}.{module.stem}" not in imported
    ]
    assert unnamed == []
