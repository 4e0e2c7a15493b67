from tidings import BosBase

pb = BosBase("http://127.0.0.1:8090")


def on_job(event):
    print(event)


pb.realtime.subscribe("jobs/finished", on_job)
