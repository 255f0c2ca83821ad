"""The printed forms of stacks: Python, Ruby, Go, Elixir, JVM, PHP, Node, .NET.

Each parser takes lines and returns the parts of a chain, the outermost first; it never fails, whatever the lines say.
Forms are those of CPython 3, CRuby 2.5-3.4 (`full_message`), Go 1.x (`debug.Stack`), `Exception.format_stacktrace`,
`Throwable.printStackTrace`, `Exception::getTraceAsString`, V8 and `Exception.ToString`.
"""

from __future__ import annotations

import re
from typing import Final

from processors.error_type.stacks import Format, Frame, Language, Part

_HEAD: Final = re.compile(r"([^\s:()]+(?:::[^\s:()]+)*)(?: \[\w+\])?(?::\s(.*)|:?)")
_GO_FILE: Final = re.compile(r"\t(\S.*\.(?:go|s)):\d+(?: \+0x[0-9a-f]+)?")
_PYTHON_FRAME: Final = re.compile(r'[\s|+]*File "([^"]*)", line \d+(?:, in (.*))?')
_PYTHON_JOINT: Final = re.compile(
    r"[\s|+]*(?:The above exception was the direct cause of the following exception:"
    r"|During handling of the above exception, another exception occurred:)"
)
_PYTHON_HEAD: Final = re.compile(r"([A-Za-z_]\w*(?:\.(?:\w+|<locals>))*)(?::\s?(.*))?")
_PYTHON_MARGIN: Final = re.compile(r" *(?:\| ?|\+[-+]*(?: |$))")
_GROUP_MEMBER: Final = re.compile(r" *\+[-+]+ \d+ -+")
_RUBY_FRAME: Final = re.compile(
    r"(\s*(?:\d+: )?from |)\s*(<internal:[^>]*>|[^:\s][^:]*):\d+:in [`'](.*?)'(?::\s(.*)|:?)"
)
_RUBY_TYPE: Final = re.compile(r"(.*?) ?\(([A-Z]\w*(?:::\w+)*)\)")
_ELIXIR_FRAME: Final = re.compile(r"\s*(?:\((\w+)[^()]*\) )?([^\s:()]+\.(?:exs?|erl|h?eex)):\d+: (.+)")
_ELIXIR_HEAD: Final = re.compile(r"\*\* \(([\w.]+)\)(?: (.*))?")
_CALL_FRAME: Final = re.compile(r"(\s+at|#\d+) (.+)")
_CAUSED_BY: Final = re.compile(r"(?:Exception in thread \"[^\"]*\" |Caused by: |\[CIRCULAR REFERENCE: ?)(.*)")
_PHP_FRAME: Final = re.compile(r"#\d+ (.+\.php)\(\d+\): (.+)")
_NODE_PLACE: Final = re.compile(r"(.*?)(?::\d+){1,2}")
_NODE_CAUSE: Final = re.compile(r"\s+\[cause\]: (.*)")
_DOTNET_PLACE: Final = re.compile(r"(.*):line \d+")
_DOTNET_INNER_NUMBER: Final = re.compile(r"\(Inner Exception #\d+\) ")


def head(line: str) -> tuple[str, str]:
    """Return (type, message) of a head line `Type: message`; a line without such a type is all message."""
    match = _HEAD.fullmatch(line.strip())
    return (match[1], match[2] or "") if match else ("", line.strip())


def python(lines: list[str]) -> list[Part]:
    """Oldest frame first and the cause before what it caused; members of a group count as its causes."""
    groups: list[list[str]] = [[]]
    for line in lines:
        if _GROUP_MEMBER.fullmatch(line):
            groups.append([])
        else:
            groups[-1].append(line)
    if len(groups) == 1:
        return _python_chain(lines)
    return [part for group in groups[:2] for part in _python_chain([_PYTHON_MARGIN.sub("", line) for line in group])]


def _python_chain(lines: list[str]) -> list[Part]:
    parts = []
    frames: list[Frame] = []
    type_ = message = ""
    for line in [*lines, None]:
        if line is None or _PYTHON_JOINT.fullmatch(line):
            if frames or type_:
                parts.append(Part(type_, message, tuple(reversed(frames))))
            frames, type_, message = [], "", ""
        elif type_:
            continue  # further lines of the message
        elif frame := _PYTHON_FRAME.fullmatch(line):
            frames.append(Frame(frame[1], frame[2] or ""))
        elif frames and line[:1].strip() and (found := _PYTHON_HEAD.fullmatch(line)):
            type_, message = found[1], found[2] or ""
    return parts[::-1]


def ruby(lines: list[str]) -> list[Part]:
    """Newest frame first; the head line is the newest frame, its type stands in brackets where the message ends."""
    parts: list[Part] = []
    frames: list[Frame] = []
    type_ = message = ""
    for line in lines:
        frame = _RUBY_FRAME.fullmatch(line)
        if frame and frame[4] is not None and not frame[1]:
            if frames:
                parts.append(Part(type_, message, tuple(frames)))
            frames, type_, message = [Frame(frame[2], frame[3])], "", frame[4]
            if found := _RUBY_TYPE.fullmatch(message):
                message, type_ = found[1], found[2]
        elif frame:
            frames.append(Frame(frame[2], frame[3]))
        elif not type_ and (found := _RUBY_TYPE.fullmatch(line)):
            type_ = found[2]  # the message had several lines
    return [*parts, Part(type_, message, tuple(frames))]


def go(lines: list[str]) -> list[Part]:
    """A function on one line, its file on the next; of a panic only what led to it, of several goroutines the first."""
    frames: list[Frame] = []
    message = ""
    goroutines = 0
    for number, line in enumerate(lines):
        if line.startswith("panic: ") and not message:
            message = line[len("panic: ") :]
        goroutines += line.startswith("goroutine ")
        if goroutines > 1:
            break
        place = _GO_FILE.fullmatch(line)
        if place and number:
            function = lines[number - 1].removeprefix("created by ").partition(" in goroutine ")[0]
            if function.endswith(")"):
                function = function[: function.rindex("(")] if "(" in function else function
            if function == "panic":
                frames.clear()
            frames.append(Frame(place[1], function))
    return [Part("panic" if message else "", message, tuple(frames))]


def elixir(lines: list[str]) -> list[Part]:
    """Newest frame first; the application stands in brackets, and the file is told with it."""
    frames = []
    type_ = message = ""
    for line in lines:
        if frame := _ELIXIR_FRAME.fullmatch(line):
            frames.append(Frame(f"{frame[1]}/{frame[2]}" if frame[1] else frame[2], frame[3]))
        elif not frames and not type_ and (found := _ELIXIR_HEAD.search(line)):
            type_, message = found[1], found[2] or ""
    return [Part(type_, message, tuple(frames))]


def jvm(lines: list[str]) -> list[Part]:
    """Newest frame first, `Caused by:` after what it caused; suppressed exceptions are no causes. PHP's is the same."""
    parts: list[Part] = []
    frames: list[Frame] = []
    type_ = message = ""
    started = suppressed = False
    for line in lines:
        if frame := _called(line):
            started = True
            if not suppressed:
                frames.append(frame)
        elif (cause := _CAUSED_BY.fullmatch(line)) or not started:
            if frames or type_:
                parts.append(Part(type_, message, tuple(frames)))
            frames, suppressed = [], False
            type_, message = head(cause[1] if cause else line)
            started = bool(type_ or message)
        elif line.lstrip().startswith("Suppressed: "):
            suppressed = True
    return [*parts, Part(type_, message, tuple(frames))]


def _called(line: str) -> Frame | None:
    if numbered := _PHP_FRAME.fullmatch(line):
        return Frame(numbered[1], numbered[2].partition("(")[0])
    call = _CALL_FRAME.fullmatch(line)
    if not call or not call[2].endswith(")"):
        return None
    function, _, place = call[2][:-1].rpartition("(")
    return Frame(place.partition(":")[0], function)


def node(lines: list[str]) -> list[Part]:
    """Newest frame first; causes stand in `[cause]: ` with deeper frames."""
    parts: list[Part] = []
    frames: list[Frame] = []
    type_ = message = ""
    for line in lines:
        call, cause = _CALL_FRAME.fullmatch(line), _NODE_CAUSE.fullmatch(line)
        if call:
            frames.append(_node_frame(call[2].removesuffix(" {")))
        elif cause:
            parts.append(Part(type_, message, tuple(frames)))
            frames = []
            type_, message = head(cause[1])
        elif not frames and not type_ and not parts:
            type_, message = head(line.removeprefix("Uncaught "))
    return [*parts, Part(type_, message, tuple(frames))]


def _node_frame(call: str) -> Frame:
    function, bracket, place = call.rpartition(" (") if call.endswith(")") else ("", "", call)
    match = _NODE_PLACE.fullmatch(place.removesuffix(")") if bracket else place.removeprefix("async "))
    return Frame(match[1] if match else place.removesuffix(")"), function)


def dotnet(lines: list[str]) -> list[Part]:
    """Heads of the whole chain first, then the frames from the innermost outwards, an end line after each."""
    heads: list[tuple[str, str]] = []
    frames: list[list[Frame]] = []
    current = 0
    for line in lines:
        call = _CALL_FRAME.fullmatch(line)
        if call:
            if not heads:
                heads.append(("", ""))
                frames.append([])
            function, _, place = call[2].partition(" in ")
            file = _DOTNET_PLACE.fullmatch(place)
            frames[current].append(Frame(file[1] if file else "", function))
        elif line.lstrip().startswith("--- End of inner exception stack trace"):
            current = max(0, current - 1)
        elif not heads or line.lstrip().startswith("---> "):
            for text in line.lstrip().removeprefix("---> ").split(" ---> "):
                heads.append(head(_DOTNET_INNER_NUMBER.sub("", text, count=1)))
                frames.append([])
            current = len(heads) - 1
    return [Part(*named, tuple(its)) for named, its in zip(heads, frames, strict=True)]


def _sign(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE)


FORMATS: Final = (
    Format(
        Language.PYTHON,
        _sign(r'^[ \t|+]*File "[^"\n]*", line \d+|^[^\n]{0,40}Traceback \(most recent call last\):'),
        python,
    ),
    Format(Language.RUBY, _sign(r"^[ \t]*(?:\d+: )?(?:from )?(?:<internal:[^>\n]*>|[^:\s][^:\n]*):\d+:in [`']"), ruby),
    Format(Language.GO, _sign(r"^goroutine \d+ \[|^\t\S[^\n]*\.go:\d+"), go),
    Format(Language.ELIXIR, _sign(r"^[ \t]*(?:\(\w+[^()\n]*\) )?[^\s:()]+\.(?:exs?|erl|h?eex):\d+: "), elixir),
    Format(
        Language.JVM,
        _sign(
            r"^[ \t]+at [^\n]*\((?:[^()\s]+\.(?:java|kts?|scala|groovy|cljc?)(?::\d+)?|Native Method|Unknown Source)\)"
        ),
        jvm,
    ),
    Format(Language.PHP, _sign(r"^(?:[ \t]+at|#\d+) [^\n]*\.php[:(]\d+\)"), jvm),
    Format(Language.NODE, _sign(r"^[ \t]+at [^\n]*(?:\S:\d+:\d+\)?(?: \{)?$|\(<anonymous>\)$|\(native\)$)"), node),
    Format(Language.DOTNET, _sign(r"^[ \t]+at [^\n]*\)(?: in [^\n]*:line \d+)?$|^[ \t]*---> "), dotnet),
)
"""In the order in which they are tried: the ones with the clearest signs first."""
