"""For mkdocstrings: docstrings of this house as its parser knows them."""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)
# "Raises:" with a sentence such as "As `hessian`." in place of "Error: when"
RAISES = re.compile(r"^( *)Raises:\n\1    (?![\w, \n]+:)", re.MULTILINE)

# "Returns:" with a sentence that has a colon, which is no name of a type
RETURNS = re.compile(r"^( *)Returns:\n\1    (?=\w+ [^\n]*:)", re.MULTILINE)


class ExamplesAsCode(griffe.Extension):
    """An example is code and no Markdown; sentences about results and errors are kept whole."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            named = EXAMPLE.sub(r"\1Examples:", obj.docstring.value)
            text = RAISES.sub(r"\1Raises:\n\1    NablaxError: ", named)
            if isinstance(obj, griffe.Function) and obj.returns is not None:
                text = RETURNS.sub(rf"\1Returns:\n\1    {obj.returns}: ", text)
            obj.docstring.value = text
