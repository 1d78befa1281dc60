"""Documents of sentences, equations, tables and code: as Markdown, as a LaTeX document and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias, assert_never

from nablax.printing.expression import Expression
from nablax.printing.labels import Label, equation
from nablax.printing.latex import COMMANDS, latex
from nablax.printing.unicode import SUBSCRIPTS, SUPERSCRIPTS, VULGAR, unicode


@dataclass(frozen=True)
class Paragraph:
    """Sentences; formulas in them are Unicode text."""

    text: str


@dataclass(frozen=True)
class Equation:
    """A displayed equation."""

    left: Label
    right: Expression


@dataclass(frozen=True)
class Table:
    """A table of words."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Items:
    """A list, with numbers where the order matters; each item is blocks one after another."""

    items: tuple[tuple[Block, ...], ...]
    numbered: bool = False


@dataclass(frozen=True)
class Listing:
    """Source code."""

    language: str
    source: str


Block: TypeAlias = Paragraph | Equation | Table | Items | Listing


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


# What words of text are in LaTeX; every other letter is itself.
SPECIAL = {"\\": r"\textbackslash{}", **{letter: "\\" + letter for letter in "&%$#_{}"}}
SPECIAL |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}
LETTERS = (
    {letter: command for letter, command in COMMANDS.items() if len(letter) == 1 and not letter.isascii()}
    | {raised: f"^{{{plain.replace('−', '-')}}}" for plain, raised in SUPERSCRIPTS.items()}
    | {lowered: f"_{{{plain}}}" for plain, lowered in SUBSCRIPTS.items()}
    | {sign: rf"\frac{{{above}}}{{{below}}}" for (above, below), sign in VULGAR.items()}
    | {"ᵀ": r"^{\top}", "′": "'", "″": "''", "‴": "'''", "⁗": "''''", "…": r"\dots", "≈": r"\approx", "²": "^{2}"}
    | {"σ": r"\sigma", "±": r"\pm", "∈": r"\in", "⁻": "^{-}"}
)
STYLE = (
    ".derivation{max-width:60em} .derivation math[display=block]{margin:.6em 0} "
    ".derivation td,.derivation th{text-align:left;padding:.1em 1em .1em 0} .derivation pre{overflow:auto}"
)


@dataclass(frozen=True, repr=False)
class Document:
    """A title and sections.

    Args:
        title: plain text.
        sections: in order.
    """

    title: str
    sections: tuple[Section, ...]

    def markdown(self) -> str:
        """Markdown with formulas in LaTeX between ``$$``."""
        return self._markdown(formulas=True)

    def latex(self) -> str:
        """A LaTeX document of the class ``article``, for every engine; it needs amsmath and newunicodechar only."""
        body = "\n\n".join(
            rf"\section*{{{_words(section.title)}}}" + "\n" + "\n\n".join(map(_latex, section.blocks))
            for section in self.sections
        )
        letters = sorted({letter for letter in body + self.title if letter in LETTERS})
        declared = "".join(rf"\newunicodechar{{{one}}}{{\ensuremath{{{LETTERS[one]}}}}}" + "\n" for one in letters)
        return (
            "\\documentclass{article}\n\\usepackage[a4paper,margin=25mm]{geometry}\n\\usepackage{amsmath}\n"
            f"\\usepackage{{newunicodechar}}\n{declared}\\setlength{{\\parindent}}{{0pt}}\n\\allowdisplaybreaks\n"
            f"\\title{{{_words(self.title)}}}\n\\date{{}}\n"
            f"\\begin{{document}}\n\\maketitle\n\n{body}\n\n\\end{{document}}\n"
        )

    def html(self) -> str:
        """A page of HTML with formulas in MathML, which browsers show without scripts."""
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
            f"<title>{escape(self.title)}</title>\n</head>\n<body>\n{self._repr_html_()}\n</body>\n</html>\n"
        )

    def _repr_html_(self) -> str:
        parts = [f'<article class="derivation">\n<style>{STYLE}</style>\n<h1>{escape(self.title)}</h1>']
        for section in self.sections:
            parts += [f"<h2>{escape(section.title)}</h2>", *map(_html, section.blocks)]
        return "\n".join([*parts, "</article>"])

    def __str__(self) -> str:
        return self._markdown(formulas=False)

    def __repr__(self) -> str:
        return str(self)

    def _markdown(self, *, formulas: bool) -> str:
        parts = [f"# {self.title}"]
        for section in self.sections:
            parts += [f"## {section.title}", *(_markdown(block, formulas) for block in section.blocks)]
        return "\n\n".join(parts) + "\n"


# -- Markdown ------------------------------------------------------------------------------------------


def _markdown(block: Block, formulas: bool) -> str:
    match block:
        case Paragraph(text):
            return _plain(text)
        case Equation(left, right) if formulas:
            return f"$$\n{left.latex} = {latex(right)}\n$$"
        case Equation(left, right):
            return f"    {left.unicode} = {unicode(right)}"
        case Table(head, rows):
            lines = [head, ("---",) * len(head), *rows]
            return "\n".join(f"| {' | '.join(_plain(cell) for cell in row)} |" for row in lines)
        case Items(items, numbered):
            shown = []
            for number, blocks in enumerate(items, 1):
                mark = f"{number}. " if numbered else "- "
                text = "\n\n".join(_markdown(one, formulas) for one in blocks)
                shown.append(mark + text.replace("\n", "\n" + " " * len(mark)))
            return "\n".join("\n".join(line.rstrip() for line in one.split("\n")) for one in shown)
        case Listing(language, source):
            return f"```{language}\n{source.rstrip()}\n```"
        case _:
            assert_never(block)


def _plain(text: str) -> str:
    """Text in which Markdown finds no marks of its own."""
    return "".join(f"\\{letter}" if letter in "\\`*_|<" else letter for letter in text)


# -- LaTeX ---------------------------------------------------------------------------------------------


def _latex(block: Block) -> str:
    match block:
        case Paragraph(text):
            return _words(text)
        case Equation(left, right):
            return f"\\begin{{equation*}}\n{left.latex} = {latex(right)}\n\\end{{equation*}}"
        case Table(head, rows):
            lines = " \\\\\n".join(" & ".join(map(_words, row)) for row in rows)
            titles = " & ".join(map(_words, head))
            return f"\\begin{{tabular}}{{{'l' * len(head)}}}\n{titles} \\\\\n\\hline\n{lines}\n\\end{{tabular}}"
        case Items(items, numbered):
            kind = "enumerate" if numbered else "itemize"
            lines = "\n".join("\\item " + "\n".join(map(_latex, blocks)) for blocks in items)
            return f"\\begin{{{kind}}}\n{lines}\n\\end{{{kind}}}"
        case Listing(_, source):
            return f"\\begin{{verbatim}}\n{source.rstrip()}\n\\end{{verbatim}}"
        case _:
            assert_never(block)


def _words(text: str) -> str:
    return "".join(SPECIAL.get(letter, letter) for letter in text)


# -- HTML ----------------------------------------------------------------------------------------------


def _html(block: Block) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{escape(text)}</p>"
        case Equation(left, right):
            return equation(left, right, is_block=True)
        case Table(head, rows):
            titles = "".join(f"<th>{escape(cell)}</th>" for cell in head)
            lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
            return f"<table>\n<tr>{titles}</tr>\n{lines}</table>"
        case Items(items, numbered):
            kind = "ol" if numbered else "ul"
            lines = "".join(f"<li>{''.join(map(_html, blocks))}</li>\n" for blocks in items)
            return f"<{kind}>\n{lines}</{kind}>"
        case Listing(language, source):
            return f'<pre><code class="language-{language}">{escape(source.rstrip())}</code></pre>'
        case _:
            assert_never(block)


def sentences(texts: Sequence[str]) -> Block:
    """One paragraph, or a list of several."""
    return Paragraph(texts[0]) if len(texts) == 1 else Items(tuple((Paragraph(text),) for text in texts))
