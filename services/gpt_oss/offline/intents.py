"""What a request can ask for. A new intent is a new class here, a rule in `rules` and a recipe in `recipes`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Overview:
    """What is this project?"""


@dataclass(frozen=True, slots=True)
class About:
    """What is `name`: the project itself, or something in it?"""

    name: str


@dataclass(frozen=True, slots=True)
class ListFiles:
    """Which files are in `path`, one level or all the way down, perhaps only of one kind (endings)."""

    path: str = "."
    deep: bool = False
    endings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Find:
    """Which lines contain `text`; with `meaning`, it is a regular expression and that is what it looks for."""

    text: str
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Where:
    """Where is `name` defined, or where is the file of that name?"""

    name: str


@dataclass(frozen=True, slots=True)
class Log:
    """The newest `limit` commits, of one path perhaps."""

    limit: int = 10
    path: str | None = None


@dataclass(frozen=True, slots=True)
class CountCommits:
    """How many commits are there, of one path perhaps?"""

    path: str | None = None


@dataclass(frozen=True, slots=True)
class Diff:
    """What is changed in the work tree, or against `ref`."""

    ref: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Show:
    """One commit."""

    ref: str = "HEAD"


@dataclass(frozen=True, slots=True)
class Read:
    """The text of a file."""

    path: str


@dataclass(frozen=True, slots=True)
class Outline:
    """Classes and functions of a file, and what it says about itself."""

    path: str


@dataclass(frozen=True, slots=True)
class Run:
    """Run a command."""

    command: str


@dataclass(frozen=True, slots=True)
class RunTests:
    """Run the project's tests, however it runs them."""


@dataclass(frozen=True, slots=True)
class Section:
    """What the project says about `topic`: installing, using, testing, its licence, its dependencies."""

    topic: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Who are you, what can you do?"""


@dataclass(frozen=True, slots=True)
class NeedsModel:
    """Something only a model can do; `keywords` and `paths` are what can be looked up for it."""

    keywords: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    change: bool = True


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing here is understood."""


Intent = (
    Overview | About | ListFiles | Find | Where | Log | CountCommits | Diff | Show | Read | Outline
    | Run | RunTests | Section | Capabilities | NeedsModel | Unknown
)  # fmt: skip
