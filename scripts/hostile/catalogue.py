"""All attacks, by name, kind after kind."""

from hostile import backends, chat, floods, http_attacks, packets, pages, parts, tokens
from hostile.attack import Attack, Context


def _nothing(context: Context) -> None:
    """Attack nobody: what the machine itself does to the calm client."""
    context.stay()


_NOTHING = Attack("none", "-", "no attack: the noise of this machine", _nothing)
_KINDS = (packets, http_attacks, chat, pages, backends, parts, floods, tokens)
_ALL = [_NOTHING, *(attack for kind in _KINDS for attack in kind.ATTACKS)]
ATTACKS = {attack.name: attack for attack in sorted(_ALL, key=lambda attack: int(attack.item.strip("+-") or 0))}
