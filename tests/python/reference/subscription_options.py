from tidings import BosBase

pb = BosBase("http://127.0.0.1:8090")


def on_post_update(event):
    print(event["action"], event["record"]["title"], event["record"]["expand"]["author"]["name"])


unsubscribe = pb.collection("posts").subscribe(
    "*",
    on_post_update,
    query={
        "filter": pb.filter("status = {:status}", {"status": "published"}),
        "expand": "author",
    },
    headers={"X-App-Instance": "cli"},
)
