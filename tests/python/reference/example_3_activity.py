from tidings import BosBase

pb = BosBase("http://127.0.0.1:8090")


def track_user_activity(user_id: str):
    """Track changes to a user's own records."""

    def on_user_post(event):
        # Only track changes to user's own posts
        if event["record"].get("author") == user_id:
            print(f"Your post {event['action']}: {event['record'].get('title')}")

            if event["action"] == "update":
                show_notification("Post updated")

    pb.collection("posts").subscribe(
        "*",
        on_user_post,
        query={"filter": f'author = "{user_id}"'}
    )


def show_notification(message: str):
    """Show a notification to the user."""
    print(f"Notification: {message}")


# Usage
pb.collection("users").auth_with_password("user@example.com", "password")
user_id = pb.auth_store.record["id"]
track_user_activity(user_id)
