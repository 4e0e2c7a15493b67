from tidings import BosBase
import atexit

pb = BosBase("http://127.0.0.1:8090")


class RealtimeSubscription:
    """Manage realtime subscriptions with cleanup."""

    def __init__(self):
        self.subscriptions = []
        atexit.register(self.cleanup)

    def subscribe(self, collection_name: str, topic: str, handler):
        """Subscribe to a topic and track the unsubscribe function."""
        unsubscribe = pb.collection(collection_name).subscribe(topic, handler)
        self.subscriptions.append(unsubscribe)
        return unsubscribe

    def cleanup(self):
        """Unsubscribe from all subscriptions."""
        for unsubscribe in self.subscriptions:
            try:
                unsubscribe()
            except Exception as e:
                print(f"Error unsubscribing: {e}")
        self.subscriptions.clear()


# Usage
rt = RealtimeSubscription()


def on_post(event):
    print(f"Post changed: {event}")


rt.subscribe("posts", "*", on_post)

# Cleanup happens automatically on exit
# Or manually: rt.cleanup()
