"""What the names in a repository tell: languages by file counts, and what a folder or a file is by its name."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from services.gpt_oss.offline.results import Entry

_LANGUAGES: Mapping[str, str] = {
    "py pyi": "Python",
    "js mjs cjs jsx": "JavaScript",
    "ts tsx mts": "TypeScript",
    "go": "Go",
    "rs": "Rust",
    "java": "Java",
    "kt kts": "Kotlin",
    "c h": "C",
    "cc cpp cxx hpp hh": "C++",
    "cs": "C#",
    "rb": "Ruby",
    "php": "PHP",
    "swift": "Swift",
    "scala": "Scala",
    "sh bash zsh": "Shell",
    "sql": "SQL",
    "html htm jinja j2": "HTML",
    "css scss sass less": "CSS",
    "md markdown": "Markdown",
    "rst": "reStructuredText",
    "yml yaml": "YAML",
    "json": "JSON",
    "toml": "TOML",
    "tf": "Terraform",
    "vue": "Vue",
    "svelte": "Svelte",
    "ex exs": "Elixir",
    "erl": "Erlang",
    "hs": "Haskell",
    "lua": "Lua",
    "pl pm": "Perl",
    "r": "R",
    "jl": "Julia",
    "dart": "Dart",
    "ipynb": "Jupyter notebook",
    "pyx pxd": "Cython",
    "zig": "Zig",
    "nix": "Nix",
    "txt": "text",
    "cfg ini": "configuration",
    "png jpg jpeg gif svg ico webp": "image",
}
_BY_ENDING = {ending: language for endings, language in _LANGUAGES.items() for ending in endings.split()}
_NOT_CODE = frozenset(["Markdown", "reStructuredText", "YAML", "JSON", "TOML", "text", "configuration", "image"])

_FOLDERS: Mapping[str, str] = {
    "src lib": "source code",
    "test tests spec specs testing __tests__": "tests",
    "doc docs documentation": "documentation",
    "example examples demo demos": "examples",
    "script scripts tools bin": "scripts",
    ".github": "GitHub settings and workflows",
    ".gitlab .circleci .ci ci": "continuous integration",
    ".vscode .idea": "editor settings",
    "bench benchmark benchmarks": "benchmarks",
    "assets static images img artwork": "static files",
    "requirements": "lists of required packages",
    "vendor third_party node_modules": "third-party code",
    "terraform deploy deployment k8s helm charts": "deployment",
    "migrations": "database migrations",
    "locale locales translations i18n": "translations",
    "extras contrib": "extras",
}
_FOLDER_BY_NAME = {name: what for names, what in _FOLDERS.items() for name in names.split()}

_FILES: Sequence[tuple[str, str]] = (
    (r"readme(\..*)?", "the README"),
    (r"(licen[cs]e|copying|unlicense)([.-].*)?", "licence"),
    (r"notice(\..*)?", "copyright notices"),
    (r"(changelog|changes|history|news|release[_-]?notes)(\..*)?", "change log"),
    (r"contributing(\..*)?", "how to contribute"),
    (r"code_of_conduct(\..*)?", "code of conduct"),
    (r"security(\..*)?", "security policy"),
    (r"(authors|contributors|maintainers)(\..*)?", "authors"),
    (r"pyproject\.toml", "Python project settings"),
    (r"setup\.(py|cfg)", "Python packaging"),
    (r"requirements.*\.(txt|in)", "required Python packages"),
    (r"(uv|poetry|pdm|cargo)\.lock|package-lock\.json|yarn\.lock|pnpm-lock\.yaml|go\.sum", "locked dependencies"),
    (r"tox\.ini|noxfile\.py", "test environments"),
    (r"pytest\.ini|conftest\.py", "pytest settings"),
    (r"package\.json", "Node package"),
    (r"tsconfig.*\.json", "TypeScript settings"),
    (r"cargo\.toml", "Rust package"),
    (r"go\.mod", "Go module"),
    (r"pom\.xml|build\.gradle(\.kts)?", "Java build"),
    (r"(gnu)?makefile|justfile", "make targets"),
    (r"cmakelists\.txt", "CMake build"),
    (r"dockerfile.*", "container image"),
    (r"(docker-)?compose.*\.ya?ml", "containers run together"),
    (r"\.pre-commit-config\.ya?ml", "checks before a commit"),
    (r"\.readthedocs\.ya?ml", "documentation build"),
    (r"\.git(ignore|attributes|modules|-blame-ignore-revs)", "git settings"),
    (r"\.editorconfig", "editor settings"),
    (r"manifest\.in", "what a source distribution includes"),
    (r"pkg-info", "metadata of the source distribution"),
    (r"__init__\.py", "makes the folder a Python package"),
)


def language_of(path: str) -> str | None:
    """Return the language or kind of a file by its name's ending."""
    return _BY_ENDING.get(PurePosixPath(path).suffix[1:].lower())


def languages(files: Sequence[str]) -> list[tuple[str, int]]:
    """Return languages with their number of files, programming languages first, then by number."""
    counts = Counter(language for path in files if (language := language_of(path)) is not None)
    return sorted(counts.items(), key=lambda item: (item[0] in _NOT_CODE, -item[1], item[0]))


def files_of(listed: Sequence[Entry]) -> list[str]:
    """Return the files of a deep listing."""
    above = {str(parent) for entry in listed for parent in PurePosixPath(entry.path).parents}
    return [entry.path for entry in listed if not entry.directory and entry.path not in above]


def describe(entry: Entry, files: Sequence[str], *, counted: bool = True) -> str:
    """Return what a top-level entry is, by its name and by the files in it; not `counted` when those are not all."""
    return (
        _describe_folder(entry.path, files, counted)
        if entry.directory
        else _describe_file(entry.path) or _kind(entry.path)
    )


def is_notable(entry: Entry) -> bool:
    """Whether an entry is one that a first look should show."""
    return entry.directory or bool(_describe_file(entry.path))


def _describe_folder(name: str, files: Sequence[str], counted: bool) -> str:
    inside = [path for path in files if path.startswith(f"{name}/")]
    known = _FOLDER_BY_NAME.get(name.lower(), "")
    if not known and f"{name}/__init__.py" in inside:
        known = "Python package"
    if not known and name.endswith(".egg-info"):
        known = "packaging metadata"
    packages = sorted({path.split("/")[1] for path in inside if re.fullmatch(r"[^/]+/[^/]+/__init__\.py", path)})
    if known == "source code" and packages:
        known = "source code of " + ", ".join(f"`{package}`" for package in packages[:4])
    return ", ".join(part for part in (known, _count(inside) if counted else "") if part)


def _count(inside: Sequence[str]) -> str:
    if not inside:
        return ""
    code = [(language, number) for language, number in languages(inside) if language not in _NOT_CODE]
    if code and code[0][1] == len(inside):
        return f"{len(inside)} {code[0][0]} file{'s' if len(inside) > 1 else ''}"
    total = f"{len(inside)} file{'s' if len(inside) > 1 else ''}"
    return f"{total} ({code[0][1]} {code[0][0]})" if code else total


def _describe_file(name: str) -> str:
    return next((what for pattern, what in _FILES if re.fullmatch(pattern, name.lower())), "")


def _kind(name: str) -> str:
    language = language_of(name)
    return f"{language} file" if language else ""


def top_level(listed: Sequence[Entry], base: str = ".") -> list[Entry]:
    """Return the entries directly in `base`, whether the listing names them from there or from the root."""
    prefix = "" if base == "." else f"{base.strip('/')}/"
    found: dict[str, bool] = {}
    for entry in listed:
        relative = entry.path.removeprefix(prefix)
        if relative and entry.path != prefix.rstrip("/"):
            name, _, below = relative.partition("/")
            found[name] = found.get(name, False) or entry.directory or bool(below)
    return [Entry(name, directory) for name, directory in found.items()]
