"""Who a client is, while it is connected: another token for it."""

from hazoom_ws.delivery.client_sets import ClientSet
from hazoom_ws.events.connecting import RefreshToken, TokenRefreshed
from hazoom_ws.namespaces.features import OwnFeature, handles
from hazoom_ws.transport.socketio.dispatch import Deferred


class AccessFeature(OwnFeature):
    """Served on every namespace of ours, as whichever a client uses may be its only one."""

    name = "access"

    @handles(RefreshToken, acknowledged_with=TokenRefreshed)
    def refresh_token(self, clients: ClientSet, payload: RefreshToken) -> Deferred:
        """Take another token of the same user, whose rights hold from now on."""
        return self.parts.identities.refresh(clients.connection.id, payload.token)
