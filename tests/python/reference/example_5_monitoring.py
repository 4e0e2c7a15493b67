from tidings import BosBase

pb = BosBase("http://127.0.0.1:8090")


def handle_disconnect(active_topics):
    """Handle disconnection events."""
    if active_topics:
        print("Connection lost, attempting to reconnect...")
        show_connection_status("Reconnecting...")
    else:
        print("No active subscriptions; connection closed.")


# Monitor connection state
pb.realtime.on_disconnect = handle_disconnect


def on_connect(event):
    """Handle connection establishment."""
    print(f"Connected to realtime: {event.get('clientId')}")
    show_connection_status("Connected")


# Monitor connection establishment
pb.realtime.subscribe("PB_CONNECT", on_connect)


def show_connection_status(status: str):
    """Update connection status in UI."""
    print(f"Connection status: {status}")
