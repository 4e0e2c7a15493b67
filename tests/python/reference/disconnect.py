from tidings import BosBase

pb = BosBase("http://127.0.0.1:8090")


def handle_disconnect(active_topics):
    if active_topics:
        print("Connection lost, waiting for auto-reconnect…")
    else:
        print("No active subscriptions; connection closed.")


pb.realtime.on_disconnect = handle_disconnect
