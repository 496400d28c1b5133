"""What text does a prompt get, sensible enough to be shown to people?

A handful of skills, tried in turn; a prompt that needs none of them gets a short paragraph about its own words.
"""

from __future__ import annotations

import re

from batcher.emulator.arithmetic import result_of

_WORD = re.compile(r"[^\W\d_][\w'-]{2,}")
_COMMON = frozenset(
    """
    all and any are but can did few for had has her him his how its let may not now off our out per put she the too
    two use was way who why you about above after again also answer because been before being between both could
    does doing down during each from give have having here into just line lines make more most name only other over
    please question same sentence should some such tell text than that their them then there these they this those
    through under very want were what when where which while will with word words would write your
    """.split()  # noqa: SIM905  a paragraph reads better than a list
)
_END_CHARS = 16_000
_SCANNED_CHARS = 4_000
"""Key words are looked for in the beginning only, so that a long prompt costs no more than a short one."""

_ECHO = re.compile(r"^\s*(?:please\s+)?(?:translate|echo|repeat|say)\b[^:\n]*:\s*(.+)", re.IGNORECASE | re.DOTALL)
_PASSAGE = re.compile(r"\b(?:passage|context|text|article|document|paragraph)\s*:\s*", re.IGNORECASE)
_QUESTION = re.compile(r"\b(?:question|q)\s*:\s*", re.IGNORECASE)
_SUMMARY = re.compile(r"^\s*(?:please\s+)?summari[sz]e\b[^:\n]*:\s*(.+)", re.IGNORECASE | re.DOTALL)
_CHOICE = re.compile(
    r"(?:one of|choose from|options?|labels?|classify[^:\n]*? as)\s*:?\s*([\w -]+(?:\s*(?:,|/|\bor\b)\s*[\w -]+)+)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
_DEF = re.compile(r"def\s+\w+\s*\((?P<parameters>[^)]{0,500})\)\s*(?:->\s*(?P<returns>[^:\n]+))?:")
_PARAMETER = re.compile(r"(\w+)\s*(?::\s*([^,=]+))?")

_FILLERS = ("this subject", "everyday practice", "what came before")
_OPENINGS = (
    "In short, {0} comes down to {1}.",
    "The main point about {0} is how it relates to {1}.",
    "Most people meet {0} first through {1}.",
    "To understand {0}, start with {1}.",
)
_MIDDLES = (
    "What matters in practice is {2}, and it is often overlooked.",
    "Seen from the side of {2}, the picture changes a little.",
    "A good example is {2}, where the effect is easy to see.",
    "Much of it depends on {2}.",
)
_ENDINGS = (
    "That is why {0} deserves a second look.",
    "Keep {1} in mind and the rest follows.",
    "From there, {0} is easier than it seems.",
    "All in all, {0} and {1} belong together.",
)
_VARIANTS = (
    "{}",
    "The answer is {}",
    "I would say {}",
    "Put differently: {}",
    "It should be {}",
    "My answer: {}",
    "In one line: {}",
    "Again, {}",
)


def text_for(prompt: str, *, drawn: int, variant: int = 0) -> str:
    """The text one candidate gives.

    Args:
        prompt: what the user wrote last.
        drawn: 64 bits of chance, for prompts that have no right answer.
        variant: the candidate's index; each reads differently.
    """
    found = _skilled(prompt)
    if found is not None:
        return _VARIANTS[variant % len(_VARIANTS)].format(found) if variant else found
    paragraph = _paragraph(prompt, drawn)
    return f"{paragraph} (Version {variant + 1}.)" if variant else paragraph


def _skilled(prompt: str) -> str | None:
    # Bounded, so that no prompt holds the emulator up: what is asked stands at the beginning or at the end.
    seen = prompt if len(prompt) <= 2 * _END_CHARS else f"{prompt[:_END_CHARS]}\n{prompt[-_END_CHARS:]}"
    return next((found for skill in _SKILLS if (found := skill(seen))), None)


def key_words(prompt: str) -> list[str]:
    """The words that a prompt is about: its longer, less common ones, each once, in order."""
    words = _WORD.findall(prompt[:_SCANNED_CHARS])
    return list(dict.fromkeys(word for word in words if word.lower() not in _COMMON))


def _paragraph(prompt: str, drawn: int) -> str:
    # Picked by division: this is the usual answer, and a seeded generator alone would cost as much as all of it (6 µs).
    words = [*key_words(prompt)[:12], *_FILLERS]
    rest, second = divmod(drawn, len(words) - 1)
    rest, third = divmod(rest, len(words) - 2)
    # The first word is most likely the subject; the others are two different ones of those behind it.
    picked = [words[0], words[1 + second], words[1 + (second + 1 + third) % (len(words) - 1)]]
    rest, opening = divmod(rest, len(_OPENINGS))
    rest, middle = divmod(rest, len(_MIDDLES))
    sentences = (_OPENINGS[opening], _MIDDLES[middle], _ENDINGS[rest % len(_ENDINGS)])
    return " ".join(sentences).format(*picked)


def _echo(prompt: str) -> str | None:
    found = _ECHO.match(prompt)
    return found[1].strip() if found else None


def _summary(prompt: str) -> str | None:
    found = _SUMMARY.match(prompt)
    return _sentences(found[1])[0] if found and _sentences(found[1]) else None


def _extract(prompt: str) -> str | None:
    """The sentence of a given passage that shares most words with the question."""
    questions = list(_QUESTION.finditer(prompt))
    passage = _PASSAGE.search(prompt[: questions[-1].start()]) if questions else None
    if passage is None:
        return None
    question, _, _ = prompt[questions[-1].end() :].partition("\n")
    asked = {word.lower() for word in key_words(question)}
    sentences = _sentences(prompt[passage.end() : questions[-1].start()])
    return max(sentences, key=lambda each: len(asked & {word.lower() for word in key_words(each)}), default=None)


def _sentences(text: str) -> list[str]:
    return [each.strip() for each in _SENTENCE.findall(text) if each.strip()]


def _choice(prompt: str) -> str | None:
    """One of the options a prompt offers: the one it mentions most often outside the list, else the first."""
    found = _CHOICE.search(prompt)
    if not found:
        return None
    options = [each.strip() for each in re.split(r",|/|\bor\b", found[1]) if each.strip()]
    outside = (prompt[: found.start()] + prompt[found.end() :]).lower()
    return max(options, key=lambda each: outside.count(each.lower()), default=None)


def _code_body(prompt: str) -> str | None:
    """A plausible body for the last function a prompt begins: it runs, and for some simple tasks it is even right."""
    if "def " not in prompt:
        return None
    headers = list(_DEF.finditer(prompt))
    if not headers:
        return None
    names = [each[1] for each in _PARAMETER.finditer(headers[-1]["parameters"] or "") if each[1] not in ("self", "cls")]
    first = names[0] if names else "None"
    returns = (headers[-1]["returns"] or "").strip().lower()
    return f"    return {_expression(returns, first, names)}\n"


def _expression(returns: str, first: str, names: list[str]) -> str:
    match returns.partition("[")[0]:
        case "bool":
            return f"bool({first})"
        case "int":
            return f"len(str({first}))" if len(names) < 2 else f"{names[0]} + {names[1]}"
        case "float":
            return f"float({first}) % 1.0"
        case "str":
            return f"str({first})"
        case "list":
            return f"sorted({first})"
        case _:
            return first


_SKILLS = (_code_body, _extract, _echo, _summary, result_of, _choice)
