from tidings import BosBase

pb = BosBase("http://127.0.0.1:8090")


def setup_dashboard():
    """Subscribe to multiple collections for dashboard updates."""

    # Posts updates
    def on_post(event):
        if event["action"] == "create":
            add_post_to_feed(event["record"])
        elif event["action"] == "update":
            update_post_in_feed(event["record"])

    pb.collection("posts").subscribe(
        "*",
        on_post,
        query={
            "filter": 'status = "published"',
            "expand": "author"
        }
    )

    # Comments updates
    def on_comment(event):
        update_comments_count(event["record"].get("postId"))

    pb.collection("comments").subscribe(
        "*",
        on_comment,
        query={"expand": "user"}
    )


def add_post_to_feed(record):
    """Add a new post to the feed."""
    print(f"New post: {record.get('title')}")


def update_post_in_feed(record):
    """Update a post in the feed."""
    print(f"Post updated: {record.get('title')}")


def update_comments_count(post_id: str):
    """Update comment count for a post."""
    print(f"Comments updated for post: {post_id}")


# Usage
setup_dashboard()
