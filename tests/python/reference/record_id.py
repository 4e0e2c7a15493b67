from tidings import BosBase

pb = BosBase("http://127.0.0.1:8090")


def callback(event):
    print(event["action"], event["record"]["title"])


pb.collection("posts").subscribe("RECORD_ID", callback)
