"""From a request's text to its intent: ordered rules, the first that recognises it decides. Knows no tool.

A rule is one small function; `RULES` at the end is their order.
"""

import re
from collections.abc import Callable

from services.gpt_oss.offline.ask import Ask, any_of
from services.gpt_oss.offline.intents import (
    About,
    Capabilities,
    Find,
    Intent,
    ListFiles,
    NeedsModel,
    Outline,
    Overview,
    Read,
    Run,
    RunTests,
    Section,
    Unknown,
    Where,
)
from services.gpt_oss.offline.rules_git import count, diff, log, show

Rule = Callable[[Ask], Intent | None]


def intent_of(ask: Ask) -> Intent:
    """Return what the request asks for."""
    found = (rule(ask) for rule in RULES)
    return next((intent for intent in found if intent is not None), Unknown())


def _empty(ask: Ask) -> Intent | None:
    return None if re.search(r"[^\W\d_]", ask.text) else Unknown()


_GREETING = re.compile(
    r"\W*(hi|hello|hey|yo|help|thanks?( you)?|good (morning|day|evening)|ping|test)( there| me)?\W*", re.IGNORECASE
)
_ABOUT_ME = any_of(
    r"\bwhat can you (do|help)",
    r"\bwho are you",
    r"\bwhat are you\b",
    r"\bhow (do|can) i use (you|this engine)",
    r"\bare you (a |an )?(gpt|ai|real|model|llm|chat|human|bot)",
    r"\b(which|what) (language )?model (are you|is this|do you)",
    r"\byour capabilities",
)


def _capabilities(ask: Ask) -> Intent | None:
    return Capabilities() if _GREETING.fullmatch(ask.text) or _ABOUT_ME.search(ask.text) else None


_PROMPT = any_of(r"^\$\s+(?P<typed>\S.*)$", r"^`(?P<ticked>[^`\n]+)`[.!]?$")
_RUNNING = re.compile(
    r"^(?:please |pls |can you |could you |would you |just |now |let's )*(?:run|execute|exec)\b(?: the)?(?: shell)?"
    r"(?: command| script)?\s*:?\s*(?P<rest>.*)$",
    re.IGNORECASE,
)
_RUNNING_QUOTED = re.compile(r"^.*?\b(?:run|execute)\b\s*:?\s*(?P<rest>[`\"'“].*)$", re.IGNORECASE)
_AFTER_COMMAND = re.compile(
    r"(?:,|\s)\s*(?:and|then|please|in (?:this|the)|to (?:see|check|verify)|for me|so that)\b.*$", re.IGNORECASE
)
_NOT_A_COMMAND = re.compile(
    r"(the|a|an|all|any|my|this|these|that|it|its|some|every|our|your|unit|tests?|integration|full|static|on|in|security"
    r"|through|and|again|us|me|code|linters?|checks?)\b(?!\s*[-=/.])",
    re.IGNORECASE,
)
_COMMAND_QUOTE = re.compile(r"`+([^`]+)`+|\"([^\"]+)\"|'([^']+)'|“([^”]+)”")


def _prompt(ask: Ask) -> Intent | None:
    typed = _PROMPT.match(ask.text)
    return Run((typed["typed"] or typed["ticked"]).strip()) if typed else None


def _run(ask: Ask) -> Intent | None:
    asked = _RUNNING.match(ask.text) or _RUNNING_QUOTED.match(ask.text)
    if asked is None or _wants_change(ask):
        return None
    rest = asked["rest"].strip()
    if quoted := _COMMAND_QUOTE.match(rest):
        return Run(next(group for group in quoted.groups() if group).strip())
    if ask.fenced and (rest.strip(" :.") == "" or _NOT_A_COMMAND.match(rest)):
        return Run(ask.fenced[0])
    command = _AFTER_COMMAND.sub("", rest).rstrip(" .!?;")
    return Run(command) if command and not _NOT_A_COMMAND.match(command) else None


_TESTS = any_of(
    r"\b(run|execute|start|try)\b[\w ]{0,30}\btests?\b",
    r"\b(do|does|are|is|will)\b[\w ]{0,24}\btests?( suite)? (all )?(pass|green|ok)",
    r"^(the )?(py|unit )?tests?( suite)?\W*$",
    r"^(npm|cargo|make|go|tox) test\W*$",
)


def _run_tests(ask: Ask) -> Intent | None:
    return RunTests() if _TESTS.search(ask.text) and not _wants_change(ask) else None


_HOW = r"\bhow (?:do|can|to|should|is|are|would)\b"
_THING = r"(?:this|it|project|repo\w*|app\w*|tool|library|package)"
_TOPICS = (
    ("licence", any_of(r"\blicen[cs]ed?\b")),
    ("dependencies", any_of(r"\bdependenc(?:y|ies)\b", r"\bdepends on\b", r"\brequire(?:d packages|ments)\b")),
    ("install", any_of(rf"{_HOW}.{{0,20}}\binstall", r"\binstall\w* (?:steps|guide|instructions)\b|^installation\W*$")),
    ("test", any_of(rf"{_HOW}.{{0,24}}\btest(?:s|ed)?\b")),
    ("usage", any_of(rf"{_HOW}.{{0,12}}\b(?:use|run|start|launch)\b.{{0,12}}\b{_THING}\b")),
    ("build", any_of(rf"{_HOW}.{{0,20}}\b(?:build|built|compiled?)\b")),
    ("contribute", any_of(rf"{_HOW}.{{0,12}}\bcontribute")),
)  # fmt: skip


def _section(ask: Ask) -> Intent | None:
    if _wants_change(ask) and not re.match(r"\W*how\b", ask.lower):
        return None
    return next((Section(topic) for topic, pattern in _TOPICS if pattern.search(ask.text)), None)


_VERBS = (
    "fix|add|implement|refactor|rewrite|create|write|change|modify|update|upgrade|remove|delete|rename|replace|move|"
    "convert|port|migrate|translate|optimi[sz]e|improve|simplify|clean|debug|generate|make|develop|apply|push|merge|"
    "revert|bump|deploy|format|document|review|commit|build|solve|resolve|edit|extend|split|extract|integrate|set up|"
    "design|draft|insert|append|speed up|correct|repair|handle|support|enable|disable|annotate|install"
)
_BEFORE_VERB = (
    r"(?:^|[.;:,!?]\s*|\b(?:and|then|please|pls|kindly|(?:can|could|would|will) you|you (?:to|should)"
    r"|(?:need|want|how) to|how (?:do|can) i|help me(?: to)?|let's|must|should|to|just|also|now)\s+)"
)
_CHANGE = re.compile(rf"{_BEFORE_VERB}(?:{_VERBS})\b(?!\s*(?:log|history|messages?|s\b|hash))", re.IGNORECASE)
_PRODUCE = any_of(
    r"\b(?:write|create|generate|make|draft|give|prepare|produce)\b(?:\s+\w+){0,4}?\s+"
    r"(?:summary|overview|description|list|listing|outline|report)\b"
)


def _wants_change(ask: Ask) -> bool:
    """Whether the request asks to make or change something; the words of a quotation do not count."""
    return bool(_CHANGE.search(ask.unquoted)) and not _PRODUCE.search(ask.unquoted)


def _change(ask: Ask) -> Intent | None:
    return NeedsModel(ask.keywords, ask.paths) if _wants_change(ask) else None


def _todos(ask: Ask) -> Intent | None:
    asked = re.search(r"\b(todo|fixme|hack|xxx)('?s)?\b", ask.lower)
    return Find(r"\b(TODO|FIXME|XXX|HACK)\b", "TODO, FIXME, XXX or HACK") if asked and not ask.quoted else None


def _all_of_a_kind(ask: Ask) -> Intent | None:
    asked = re.search(r"\b(?:list|show|find|what|which)\b[\w ]{0,16}\b(classes|functions)\b", ask.lower)
    if asked is None or ask.paths or ask.quoted:
        return None
    words = "class" if asked.group(1) == "classes" else "(async def|def|func|function|fn)"
    return Find(rf"^\s*(export |pub |public )?{words}\s+[A-Za-z_]", f"definitions of {asked.group(1)}")


_NAME = r"[`'\"“]?(?P<name>[A-Za-z_][\w/.-]*)[`'\"”]?(?:\(\))?"
_KIND = (
    r"(?:class|function|method|variable|constant|symbol|type|struct|module|def|command|file|fixture|decorator"
    r"|macro|enum)"
)
_WHERE = (
    re.compile(
        r"\bwhere(?:'s| is| are| can i find| do (?:you|we|i|they) (?:define|declare)| does)\s+(?:the |a |an )?"
        rf"(?:{_KIND}\s+)?{_NAME}\s*(?:{_KIND}\s*)?(?:defined|declared|implemented|located|live|found|stored)?\W*$",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\b(?:definition|declaration|implementation|location|source) of\s+(?:the )?(?:{_KIND}\s+)?{_NAME}",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\b(?:find|locate|show(?: me)?|go to|what (?:is|does))\s+(?:the )?{_KIND}\s+{_NAME}", re.IGNORECASE
    ),
    re.compile(rf"\b(?:what(?:'s| is| does)|find|show(?: me)?|explain) the {_NAME} {_KIND}\b", re.IGNORECASE),
)  # fmt: skip
_NOT_A_NAME = re.compile(r"(in|of|it|they|that|this|called|named|which|with|for|s|is|at)", re.IGNORECASE)


def _where(ask: Ask) -> Intent | None:
    asked = next((found for pattern in _WHERE if (found := pattern.search(ask.text)) is not None), None)
    if asked is None or _NOT_A_NAME.fullmatch(asked["name"]):
        return None
    return Where(asked["name"].rstrip("."))


_SEARCHING = any_of(
    r"\b(?:search|grep|rg|find|locate|look for|occurrences?|usages?|uses? of|references? to|mentions?|mentioned)\b",
    r"\b(?:contain(?:s|ing)?|where|which files?|who (?:uses|calls))\b",
)
_USED = re.compile(
    r"\b(?:uses? of|usages? of|references? to|where is|where are|who (?:uses|calls))\s+([A-Za-z_][\w.]*)(?:\(\))?"
    r"(?: used| called| mentioned)?\W*$",
    re.IGNORECASE,
)
_SOUGHT = re.compile(
    r"^(?:please |can you |could you )*(?:search|grep|look|find|locate|rg)\b"
    r"(?:\s+(?:the )?(?:code|repo(?:sitory)?|project|files?|codebase))?"
    r"(?:\s+(?:for|up|all|every|any|the|me|out|occurrences|uses?|usages?|references?|mentions?|places|lines|of|to|where))*"
    r"\s+(?P<what>.+?)\s*(?:\b(?:in|within|across|inside|is used|are used|used)\b.*)?[.?!]*$",
    re.IGNORECASE,
)


def _find(ask: Ask) -> Intent | None:
    if ask.quoted and _SEARCHING.search(ask.text):
        return Find(ask.quoted[0])
    if used := _USED.search(ask.text):
        return Find(used.group(1))
    sought = _SOUGHT.match(ask.text)
    return Find(sought["what"].strip("`'\"“”")) if sought and len(sought["what"].split()) <= 4 else None


_ABOUT_FILE = any_of(
    r"\b(?:outline|class(?:es)?|functions?|methods?|structure|symbols?|api|signatures?|definitions?)\b",
    r"\b(?:what|explain|describe|summari[sz]e|purpose|tell me about|overview|how does)\b",
)
_CONTENT = any_of(
    r"\b(?:read|show|open|print|cat|display|view|dump|see|contents?|give me|look at|head|first lines)\b",
    r"\bwhat(?:'s| is) in\b",
)
_OUTLINE_WORDS = any_of(r"\b(?:outline|class(?:es)?|functions?|methods?|structure|symbols?|signatures?)\b")


def _outline(ask: Ask) -> Intent | None:
    path = next((path for path in ask.paths_or_attached if "." in path.rsplit("/", 1)[-1].lstrip(".")), None)
    if path is None or not _ABOUT_FILE.search(ask.text):
        return None
    # "What is in x.py" asks for the text, "what does x.py do" for what it says about itself.
    return None if _CONTENT.search(ask.text) and not _OUTLINE_WORDS.search(ask.text) else Outline(path)


def _read(ask: Ask) -> Intent | None:
    if not ask.paths_or_attached or ask.paths_or_attached[0].endswith("/"):
        return None
    alone = len(ask.paths) == 1 and ask.text.strip("`'\" .?") == ask.paths[0]
    return Read(ask.paths_or_attached[0]) if alone or _CONTENT.search(ask.text) else None


_KINDS = (
    (any_of(r"\bpython\b"), (".py", ".pyi")),
    (any_of(r"\bjavascript\b", r"\bjs\b"), (".js", ".mjs", ".cjs", ".jsx")),
    (any_of(r"\btypescript\b", r"\bts\b"), (".ts", ".tsx")),
    (any_of(r"\bmarkdown\b"), (".md",)),
    (any_of(r"\brust\b"), (".rs",)),
    (any_of(r"\bgo\b", r"\bgolang\b"), (".go",)),
    (any_of(r"\bjava\b"), (".java",)),
    (any_of(r"\bya?ml\b"), (".yml", ".yaml")),
    (any_of(r"\bjson\b"), (".json",)),
    (any_of(r"\bshell\b", r"\bbash\b"), (".sh", ".bash")),
)
_FILES = r"(?:files?|dirs?|director(?:y|ies)|folders?|contents?|entries|tree|everything|modules|scripts)"
_LIST = any_of(
    rf"\b(?:list|show|print|display|enumerate|give|get|see|which|what|name)\b[^.?!]{{0,40}}\b{_FILES}\b",
    r"^(?:ls|dir|tree|list)\b",
    rf"\b{_FILES} (?:are )?(?:here|there|exist)\b",
    r"\bwhat(?:'s| is| do we have)(?: there)? (?:in )?(?:here|(?:this|the) (?:folder|directory|dir))\b",
    r"\bwhat(?:'s| is) in(?:side)? [\w./-]+/\W*$",
)
_ENDING = re.compile(r"\*(\.[A-Za-z0-9]{1,6})\b|(?<!\w)(\.[A-Za-z0-9]{1,6}) files?\b")
_HERE = any_of(
    r"\b(?:current|top[- ]level|root|this|working) (?:director|folder|dir\b|level|of)", r"\btop[- ]level\b", r"\bhere\b"
)
_DEEP = any_of(
    r"\brecursive(?:ly)?\b",
    r"\b(?:tree|everything|whole|entire|nested)\b",
    r"\ball(?: the| of the)? files\b",
    r"\bevery file\b",
    r"\bsub ?(?:folders|directories)\b",
)
_FOLDER = re.compile(
    r"\b(?:in|of|under|inside|within|ls|tree|list)\s+(?:the )?[`'\"“]?(?P<a>[\w.-]+(?:/[\w.-]+)*)/?[`'\"”]?"
    r"(?:\s+(?:folder|directory|dir)\b|\W*$)|\b(?:the )?[`'\"“]?(?P<b>[\w.-]+)[`'\"”]?\s+(?:folder|directory|dir)\b",
    re.IGNORECASE,
)
_NO_FOLDER = re.compile(
    r"(the|a|this|that|current|root|working|top|project|repo|repository|here|each|every|it|main|which|what|same|your|my"
    r"|git|codebase|class(es)?|functions?|methods?|commits?|branches|files?|dirs?|director(y|ies)|folders?|contents?|everything|all|-\w+|\.?|level)",
    re.IGNORECASE,
)


def _list(ask: Ask) -> Intent | None:
    if not _LIST.search(ask.text):
        return None
    starred = _ENDING.search(ask.text)
    kinds = next((endings for pattern, endings in _KINDS if pattern.search(ask.text)), ())
    endings = ((starred.group(1) or starred.group(2)),) if starred else kinds
    deep = bool(endings) or (bool(_DEEP.search(ask.text)) and not _HERE.search(ask.text))
    return ListFiles(_folder(ask), deep, endings)


def _folder(ask: Ask) -> str:
    """Return the folder a listing is asked of: a path, or the word after `in` or before `folder`."""
    for path in ask.paths:
        if not re.fullmatch(r"\.\w{1,6}", path):
            return path.rstrip("/") or "."
    named = _FOLDER.search(ask.text)
    name = (named["a"] or named["b"]) if named else "."
    return "." if _NO_FOLDER.fullmatch(name) else name


_PROJECT = (
    r"(?:(?:this|it|the|that|here|your|our|my) )?(?:\w+ )?(?:project|repo|repository|codebase|code base|package|library"
    r"|app|application|program|tool|software|module|thing|code|source|service|system|workspace|folder|directory)"
)
_OVERVIEW = any_of(
    rf"\bwhat\s*(?:'s|s|is|does|do|are)\s+(?:exactly |actually )?(?:{_PROJECT}|this|it|that)\b"
    r"(?!\s+(?:file|function|class|error|line|method|test|commit))",
    r"\b(?:summar\w+|overview|purpose|synopsis|tl;?dr|analy[sz]e|describe|explain|introduc\w+|understand|about)\b"
    rf"[\w ,']{{0,30}}?(?:\b{_PROJECT}\b|\b(?:this|it)\W*$)",
    rf"\btell me (?:more )?(?:about|what)\b.{{0,24}}(?:\b{_PROJECT}\b|\b(?:this|it)\W*$)",
    r"^(?:(?:an?|give me an?|quick|short|project|repo|the) )*(?:summary|overview|purpose|describe|summari[sz]e|about"
    r"|tl;?dr|architecture|structure|intro(?:duction)?)(?: (?:this|it|please))?\W*$",
    rf"\b(?:structure|layout|architecture|organi[sz]ation|main (?:parts|components|idea)) of\b.{{0,12}}{_PROJECT}",
    rf"\b{_PROJECT}(?:'s)? (?:structure|overview|summary|about|do\b|purpose|layout|architecture)",
    rf"\bhow is {_PROJECT} (?:structured|organi[sz]ed|laid out)",
    r"\b(?:explain|describe|show|what is)(?: me)? the (?:architecture|structure|layout|design)\b",
    r"\b(?:which|what) (?:programming )?languages?\b",
    r"\bwhat am i looking at\b",
    r"\bhow many (?:files|lines)\b",
    r"\b(?:give|write|create|show|provide|make|need|want)\b[\w ]{0,16}\b(?:summary|overview|description)\b",
)


def _overview(ask: Ask) -> Intent | None:
    return Overview() if _OVERVIEW.search(ask.text) else None


_ABOUT_NAME = re.compile(
    r"^\W*what(?:'s| is| does)\s+[`'\"“]?(?P<name>[A-Za-z_][\w-]*)[`'\"”]?(?:\(\))?(?:\s+(?:do|for|about|mean))?\W*$",
    re.IGNORECASE,
)


def _about_name(ask: Ask) -> Intent | None:
    asked = _ABOUT_NAME.match(ask.text)
    return About(asked["name"]) if asked else None


_ENGLISH = any_of(
    r"\b(?:the|is|are|does|do|how|why|what|when|which|who|can|could|should|would|please|explain|compare|find|show"
    r"|this|of|for|with|tell)\b"
)


def _question(ask: Ask) -> Intent | None:
    return NeedsModel(ask.keywords, ask.paths, change=False) if _ENGLISH.search(ask.text) else None


RULES: tuple[Rule, ...] = (
    _empty,
    _capabilities,
    _prompt,
    _run,
    _section,
    _run_tests,
    _change,
    _todos,
    _all_of_a_kind,
    show,
    count,
    log,
    diff,
    _outline,
    _where,
    _find,
    _list,
    _read,
    _overview,
    _about_name,
    _question,
)
"""What needs the plainest words comes first; a wish for a change comes before everything that only looks."""
