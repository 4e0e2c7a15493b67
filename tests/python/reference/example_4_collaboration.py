from tidings import BosBase

pb = BosBase("http://127.0.0.1:8090")


def track_document_edits(document_id: str):
    """Track when a document is being edited."""

    def on_document_update(event):
        if event["action"] == "update":
            last_editor = event["record"].get("lastEditor")
            updated_at = event["record"].get("updated")

            # Show who last edited the document
            show_editor_indicator(last_editor, updated_at)

    pb.collection("documents").subscribe(
        document_id,
        on_document_update,
        query={"expand": "lastEditor"}
    )


def show_editor_indicator(editor_id: str, updated_at: str):
    """Show who last edited the document."""
    print(f"Document edited by {editor_id} at {updated_at}")


# Usage
track_document_edits("DOCUMENT_ID")
