from tidings import BosBase

pb = BosBase("http://127.0.0.1:8090")


def handler(event):
    """Handle post events."""
    print(f"Post {event['action']}: {event['record'].get('title')}")


def setup_conditional_subscriptions():
    """Subscribe conditionally based on user state."""
    if pb.auth_store.is_valid():
        # Authenticated user - subscribe to private posts
        pb.collection("posts").subscribe(
            "*",
            handler,
            query={"filter": '@request.auth.id != ""'}
        )
    else:
        # Guest user - subscribe only to public posts
        pb.collection("posts").subscribe(
            "*",
            handler,
            query={"filter": 'public = true'}
        )


# Usage
setup_conditional_subscriptions()
