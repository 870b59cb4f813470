"""What a name or a text shows: whether it is blank, and whether it hides or turns what stands around it.

Source: Unicode, the properties White_Space, Default_Ignorable_Code_Point and Bidi_Control, and the general category Cc.
"""

import re
import unicodedata

# White space, control characters, what is ignored where it is not supported, and the empty pattern of Braille.
_SHOWS_NOTHING = (
    "\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    "\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
_shows = re.compile(f"[^{_SHOWS_NOTHING}]").search
_HIDDEN_OR_TURNED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_is_hidden_or_turned = _HIDDEN_OR_TURNED.search


def is_blank(text: str) -> bool:
    """Return whether a text shows nothing at all."""
    return not "!" <= text[:1] <= "~" and _shows(text) is None  # most begin with a letter of ASCII


def is_plain(name: str) -> bool:
    """Return whether a name is ASCII with nothing in it to look for, as most are."""
    return name[:1] >= "!" and name.isascii() and name.isprintable()


def has_controls(name: str) -> bool:
    """Return whether a name has control characters, or such as turn the direction of what stands around it."""
    return not (name.isascii() and name.isprintable()) and _is_hidden_or_turned(name) is not None


def escaped(text: str) -> str:
    """Return a text as one line for a terminal: what would drive that, or turn the direction, is written as an escape."""
    return _HIDDEN_OR_TURNED.sub(lambda found: ascii(found[0])[1:-1], text)


def composed(name: str) -> str:
    """Return a name in normal form C, in which equal names are equal texts. It is to be short: this is not linear."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)
