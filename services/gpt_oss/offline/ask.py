"""A request's text prepared for the rules: quotes, code blocks, paths and keywords taken out once."""

import re
from dataclasses import dataclass

from services.gpt_oss.offline.conversation import Conversation

_LONG = 1200
_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_QUOTED = re.compile(r"`+([^`\n]{1,200})`+|\"([^\"\n]{1,200})\"|“([^”\n]{1,200})”|(?<!\w)'([^'\n]{1,200})'(?!\w)")
_PATH = re.compile(
    r"(?<![\w/.@:-])((?:\./)?(?:[\w.@+-]+/)+[\w.@+-]*[\w/]|(?:\./)?\.?[\w@+-]+(?:\.[\w@+-]+)*\.[A-Za-z][A-Za-z0-9]{0,9}|\./[\w@+-]+"
    r"|README|LICENSE|Makefile|Dockerfile|CHANGELOG|PKG-INFO)(?![\w@/-])"
)
_NOT_PATHS = re.compile(
    r"(e\.g|i\.e|etc\.|vs\.|\d+(\.\d+)+|[a-z]+\.(com|org|net|io)|node\.js|and/or|either/or|ci/cd|i/o|client/server|yes/no)",
    re.IGNORECASE,
)
_STOP = frozenset(
    """
    the a an and or but if then else this that these those is are was were be been do does did doing done how why what
    when which who whom whose where can could should would will shall may might must please me my our your you it its
    they them there here in on at to from of for with without by about into over under between as not no yes so than
    too very just also more most some any all each every other such only own same new old i we us he she his her has
    have had having one two want need like get set let show tell explain give find look help work works code file files
    function functions class method project repo repository using use used uses bug issue problem error instead test
    tests line lines fix add make create write change update remove delete implement refactor improve generate build
    support handle rename replace convert migrate translate optimize optimise simplify clean review
    last commit commits recent folder directory failing failures exist exists slow fast handling handled entry point
    count happens called happen
    """.split()  # noqa: SIM905 - a list of a hundred short strings would be longer and no clearer
)


@dataclass(frozen=True, slots=True)
class Ask:
    """The request as typed (long ones by their beginning and end), and what stands out in it."""

    text: str
    unquoted: str
    quoted: tuple[str, ...] = ()
    fenced: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    attached: tuple[str, ...] = ()

    @property
    def lower(self) -> str:
        """The text in lower case."""
        return self.text.lower()

    @property
    def paths_or_attached(self) -> tuple[str, ...]:
        """Paths in the request, or else those in the caller's context, unless the request is about all of it."""
        whole = re.search(r"\b(project|repo|repository|codebase|package|library|program|app|application)\b", self.lower)
        return self.paths or (() if whole else self.attached)

    @property
    def keywords(self) -> tuple[str, ...]:
        """At most three words worth a search: what is quoted, then identifiers, then the longest plain words."""
        quoted = [word for word in self.quoted if len(word) <= 60 and word not in self.paths]
        words = re.findall(r"[A-Za-z_][A-Za-z0-9_]{2,40}", _PATH.sub(" ", self.unquoted))
        named = [word for word in words if "_" in word or re.search(r"[a-z][A-Z]", word)]
        plain = sorted(
            (w for w in words if w.lower() not in _STOP and w not in named and len(w) > 3), key=len, reverse=True
        )
        if quoted or named:
            return tuple(dict.fromkeys(quoted + named))[:3]
        return tuple(dict.fromkeys(plain))[:2]


def prepare(conversation: Conversation) -> Ask:
    """Return the request as the rules read it; what is inside code blocks never decides."""
    fenced = tuple(match.strip() for match in _FENCE.findall(conversation.request))
    text = " ".join(_FENCE.sub(" ", conversation.request).replace("’", "'").split())
    if len(text) > _LONG:
        text = f"{text[: _LONG * 2 // 3]} … {text[-_LONG // 3 :]}"
    quoted = tuple(next(g for g in groups if g).strip() for groups in _QUOTED.findall(text))
    return Ask(
        text=text,
        unquoted=_QUOTED.sub(" ", text),
        quoted=tuple(item for item in quoted if item),
        fenced=tuple(item for item in fenced if item),
        paths=paths_in(text),
        attached=conversation.attached,
    )


def paths_in(text: str) -> tuple[str, ...]:
    """Return what looks like a path in a text, in order, each once."""
    found = (match.group(1).removeprefix("./") for match in _PATH.finditer(text))
    return tuple(dict.fromkeys(path for path in found if path and not _NOT_PATHS.fullmatch(path)))


def any_of(*alternatives: str) -> re.Pattern[str]:
    """Return one pattern of all alternatives, whatever the case."""
    return re.compile("|".join(f"(?:{one})" for one in alternatives), re.IGNORECASE)
