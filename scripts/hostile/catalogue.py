"""All attacks, by name, kind after kind."""

from hostile import backends, chat, http_attacks, packets, pages, parts
from hostile.attack import Attack, Context


def _nothing(context: Context) -> None:
    """Attack nobody: what the machine itself does to the calm client."""
    context.stay()


_NOTHING = Attack("none", "-", "no attack: the noise of this machine", _nothing)
_ALL = [_NOTHING, *packets.ATTACKS, *http_attacks.ATTACKS, *chat.ATTACKS, *pages.ATTACKS, *backends.ATTACKS, *parts.ATTACKS]
ATTACKS = {attack.name: attack for attack in sorted(_ALL, key=lambda attack: int(attack.item.strip("+-") or 0))}
