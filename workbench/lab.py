"""What `make lab` tells JupyterLab's server: send at once what a kernel says.

A move of a slider is answered by several small messages. By default TCP holds each of them back until the browser has
acknowledged the one before, which it does after 40 ms (Nagle's algorithm and delayed acknowledgement; tornado's
`WebSocketHandler.set_nodelay` warns of it). Seen here: 63 ms from a bare slider to a line of text with it, 21 without.
"""

from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class PromptConnection(ZMQChannelsWebsocketConnection):
    """For ``ServerApp.kernel_websocket_connection_class``."""

    def connect(self) -> Any:
        """Connect to the kernel's channels as ever, and let no message wait for another's acknowledgement."""
        self.websocket_handler.set_nodelay(True)
        return super().connect()
