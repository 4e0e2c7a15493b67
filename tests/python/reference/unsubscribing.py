from tidings import BosBase

pb = BosBase("http://127.0.0.1:8090")

pb.collection("posts").subscribe("RECORD_ID", print)
pb.collection("comments").subscribe("*", print)
pb.realtime.subscribe("jobs/finished", print)

pb.collection("posts").unsubscribe("RECORD_ID")
print(pb.realtime.get_active_subscriptions())
pb.realtime.unsubscribe_by_prefix("comments/")
print(pb.realtime.get_active_subscriptions())
pb.realtime.unsubscribe()  # remove every topic
print(pb.realtime.get_active_subscriptions())
